// The page without a network, once it was loaded; and the two headers that let WebAssembly use threads on any host.

addEventListener("install", () => skipWaiting());

addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(registration.scope)) event.respondWith(answer(event));
});

async function answer(event) {
  const { request } = event;
  const kept = caches.open("gateshift");
  let found;
  try {
    found = await fetch(request);
    const copy = found.clone();
    if (found.ok) event.waitUntil(kept.then((all) => all.put(request, copy)).catch(() => {})); // there may be no room
  } catch (error) {
    found = await (await kept).match(request);
    if (!found) throw error;
  }
  if (!found.ok) return found;
  const headers = new Headers(found.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Content-Security-Policy", "connect-src 'self'"); // of the worker too: it may ask nobody else
  return new Response(found.body, { status: found.status, headers });
}
