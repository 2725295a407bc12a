// The network, beside the page so that the page does not wait for it: clips in, logits out.

let shape, session, ort;
let turn = Promise.resolve(); // a session runs one clip at a time

addEventListener("message", async ({ data }) => {
  try {
    if (data.shape) {
      shape = data.shape;
      postMessage({ ready: await open() });
    } else {
      turn = turn.catch(() => {}).then(() => answer(data.clip));
      await turn;
    }
  } catch (error) {
    postMessage({ error: String(error?.message ?? error).slice(0, 200) });
  }
});

/** Open the model where it is fastest; what that is, in words. */
async function open() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (adapter && !adapter.info?.isFallbackAdapter) {
    try {
      return await openWith("webgpu");
    } catch (error) {
      console.warn("WebGPU cannot run this network here:", error);
    }
  }
  return openWith("wasm");
}

async function openWith(provider) {
  ort = await import(`./runtime/ort.${provider}.min.mjs`);
  ort.env.wasm.wasmPaths = new URL("runtime/", import.meta.url).href;
  const model = new URL("model.onnx", import.meta.url).href;
  session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
  await run(new Uint8Array(shape.reduce((product, side) => product * side))); // the first clip is slow
  const threads = ort.env.wasm.numThreads; // ONNX Runtime's choice: half of the cores, at most four
  return provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threads} thread${threads > 1 ? "s" : ""}`;
}

async function answer(clip) {
  const began = performance.now();
  const logits = await run(clip);
  postMessage({ logits, ms: performance.now() - began });
}

async function run(clip) {
  const found = await session.run({ [session.inputNames[0]]: new ort.Tensor("uint8", clip, [1, ...shape]) });
  return found[session.outputNames[0]].data;
}
