// The page: a camera or a clip in, its classes out. Frames are taken here; worker.js runs the network on them.

import { boxOf, cropFrame, frameTimes, windowsOf } from "./clips.js";

const [TOP, ENTER, LEAVE] = [5, 0.5, 0.4]; // classes shown; when one begins and ends, as in gateshift predict --timeline
const SHOWN_MS = 200; // how long a frame may take to be shown
const HOP_S = 0.5; // from one window of a clip to the next
const model = JSON.parse(byId("model").textContent);
const video = byId("video");
const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
const worker = new Worker("worker.js", { type: "module" });
const waiting = []; // who waits for an answer; they come in order
let current = 0; // number of what is watched; what has another number has ended
let answered = []; // when the last answers came

function byId(id) {
  return document.getElementById(id);
}

/** One line about what went wrong; without text there is none. */
function tell(text = "") {
  byId("message").textContent = text;
  byId("message").hidden = !text;
}

/** Let the network answer a clip of frames. */
function classify(frames) {
  const clip = new Uint8Array(frames.length * frames[0].length);
  frames.forEach((frame, number) => clip.set(frame, number * frame.length));
  worker.postMessage({ clip }, [clip.buffer]);
  return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
}

worker.addEventListener("message", ({ data: { ready, logits, ms, error } }) => {
  if (ready) {
    byId("engine").textContent = ready;
    byId("controls").disabled = false;
    tell();
  } else if (!waiting.length) {
    tell(`The model cannot be opened here: ${error}`);
  } else {
    const { resolve, reject } = waiting.shift();
    error ? reject(new Error(error)) : resolve({ probabilities: probabilitiesOf(logits), ms });
  }
});
worker.addEventListener("error", () => tell("A file of this page is missing or damaged; copy the folder again"));

function probabilitiesOf(logits) {
  if (model.multi_label) return Array.from(logits, (logit) => 1 / (1 + Math.exp(-logit)));
  const largest = Math.max(...logits);
  const shares = Array.from(logits, (logit) => Math.exp(logit - largest));
  const total = shares.reduce((sum, share) => sum + share, 0);
  return shares.map((share) => share / total);
}

/** Show the likeliest classes, and how fast answers come. */
function show({ probabilities, ms }, of) {
  const order = [...probabilities.keys()].sort((one, other) => probabilities[other] - probabilities[one]);
  byId("of").textContent = probabilities[order[0]] < model.abstain_below ? `${of}: unsure` : of;
  const rows = order.slice(0, TOP).map((index) => {
    const row = byId("row").content.cloneNode(true);
    row.querySelector(".name").textContent = model.classes[index];
    row.querySelector(".share").textContent = percent(probabilities[index]);
    row.querySelector("meter").value = probabilities[index];
    return row;
  });
  byId("classes").replaceChildren(...rows);
  answered = [...answered.slice(-9), performance.now()];
  const rate = (1000 * (answered.length - 1)) / (answered.at(-1) - answered[0]);
  byId("rate").textContent = `${ms.toFixed(0)} ms a clip${rate ? `, ${rate.toFixed(1)} clips a second` : ""}`;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** The frame that is shown now, as the network sees it. */
function grab() {
  const { left, top, width, height } = boxOf(model.box, video.videoWidth, video.videoHeight);
  [canvas.width, canvas.height] = [width, height];
  context.drawImage(video, left, top, width, height, 0, 0, width, height);
  return cropFrame(context.getImageData(0, 0, width, height), model.size, model.resize);
}

/** End what is watched and begin something else: its number. */
function begin() {
  video.srcObject?.getTracks().forEach((track) => track.stop());
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.srcObject = null;
  video.controls = false;
  answered = [];
  byId("classes").replaceChildren();
  byId("spans").replaceChildren();
  byId("of").textContent = byId("rate").textContent = "";
  byId("timeline").hidden = true;
  tell();
  return ++current;
}

async function watchCamera() {
  const own = begin();
  const seconds = windowSeconds();
  if (!navigator.mediaDevices) return tell("A camera needs an address with https, or this machine's own: http://localhost");
  try {
    const wanted = { facingMode: "environment", width: { ideal: 640 } };
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted });
    video.srcObject.getTracks()[0].addEventListener("ended", () => tell("The camera has stopped"));
    await video.play();
  } catch (error) {
    return own === current && tell(`No camera: ${error.message}; allow it for this page, or choose a clip`);
  }
  try {
    grab();
  } catch (error) {
    begin();
    return tell(error.message);
  }
  byId("of").textContent = `Looking at the first ${seconds} seconds`;
  const step = (1000 * seconds) / model.frames;
  const kept = [];
  let due = performance.now();
  let busy = false;
  while (own === current) {
    await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    if (own !== current || performance.now() < due) continue;
    due = Math.max(due + step, performance.now() - step); // in step, unless the device was too slow for that
    kept.push(grab());
    if (kept.length > model.frames) kept.shift();
    if (busy || kept.length < model.frames) continue;
    busy = true;
    classify(kept)
      .then((answer) => own === current && show(answer, `The last ${seconds} seconds`))
      .catch((error) => own === current && tell(`The network failed: ${error.message}`))
      .finally(() => (busy = false));
  }
}

async function watchFile(file) {
  const own = begin();
  try {
    video.src = URL.createObjectURL(file);
    await happened("loadeddata");
    if (!video.videoWidth) throw new Error("no pictures");
  } catch {
    return own === current && tell(`${file.name}: this browser reads no video in it; take an mp4 (H.264) or webm file`);
  }
  try {
    await answerFile(own);
  } catch (error) {
    return own === current && tell(`${file.name}: cannot be read to its end: ${error.message}`);
  }
}

/** Classify a whole clip, as gateshift predict does, and then what happens in its windows. */
async function answerFile(own) {
  const { start, end } = await picturesShown();
  if (own !== current) return;
  const length = `${(end - start).toFixed(1)} s`;
  const seen = new Map(); // frames by their time, as windows share them
  const answerOf = async (window) => {
    for (const time of seen.keys()) if (time < window.start) seen.delete(time);
    const frames = [];
    for (const time of frameTimes(window, model.frames)) {
      const known = [...seen.keys()].find((other) => Math.abs(other - time) < 1e-6);
      if (known === undefined) await seek(Math.min(time, end));
      if (own !== current) return null;
      if (known === undefined) seen.set(time, grab());
      frames.push(seen.get(known ?? time));
    }
    return classify(frames);
  };
  const whole = await answerOf({ start, end });
  if (own !== current) return;
  show(whole, `The whole clip, ${length}`);
  seen.clear();
  const windows = windowsOf({ start, end }, windowSeconds(), HOP_S);
  const spans = [];
  let state = null;
  if (windows.length > 1 && !model.multi_label) {
    const middles = windows.map((window) => (window.start + window.end) / 2);
    for (const [number, window] of windows.entries()) {
      const answer = await answerOf(window);
      if (own !== current) return;
      const before = state;
      state = nextState(state, answer.probabilities);
      const until = number + 1 < windows.length ? (middles[number] + middles[number + 1]) / 2 : end;
      const from = number ? (middles[number - 1] + middles[number]) / 2 : start;
      if (state !== null && state === before) spans.at(-1).end = until;
      else if (state !== null) spans.push({ start: from, end: until, label: model.classes[state] });
      showSpans(spans);
      show(answer, `${window.start.toFixed(1)} to ${window.end.toFixed(1)} s of ${length}`);
    }
    show(whole, `The whole clip, ${length}`);
  }
  await seek(0);
  video.controls = true;
}

/** When the first picture begins and the last one ends: sound may begin before that, and go on after it. Seconds. */
async function picturesShown() {
  let reached, last;
  do {
    reached = Math.min(video.duration, 1e9); // of a recording that does not say how long it is, as far as it goes
    last = await seek(reached);
  } while (video.duration > reached && Number.isFinite(video.duration)); // it may find more than the file has said
  const { duration } = video;
  if (!Number.isFinite(duration)) throw new Error("it does not say where that is");
  const before = await seek(Math.max(last - 1e-3, 0) || 0);
  const first = await seek(0);
  if (!(before < last)) return { start: 0, end: duration }; // a single picture, or a browser too slow to tell
  const period = last - before; // parts of which are rounding
  const rest = duration - last;
  return {
    start: first > period / 4 ? first : 0,
    end: rest > 1.25 * period || rest < period / 4 ? last + period : duration,
  };
}

/** Which class happens now: a likelier one that begins, or the one before until it ends; null is none. */
function nextState(state, probabilities) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  if (probabilities[best] >= ENTER) return best;
  return state !== null && probabilities[state] >= LEAVE ? state : null;
}

function showSpans(spans) {
  byId("timeline").hidden = false;
  const rows = spans.map(({ start, end, label }) => {
    const row = document.createElement("tr");
    for (const text of [`${start.toFixed(2)}–${end.toFixed(2)}`, label]) row.insertCell().textContent = text;
    return row;
  });
  byId("spans").replaceChildren(...rows);
}

function happened(name) {
  return new Promise((resolve, reject) => {
    video.addEventListener(name, resolve, { once: true });
    video.addEventListener("error", () => reject(new Error(video.error?.message)), { once: true });
  });
}

/**
 * Show a moment, and tell when its frame begins. That may be there after "seeked" only, and is not told of where it was
 * shown already.
 */
async function seek(time) {
  const shown = new Promise((resolve) => video.requestVideoFrameCallback((_, { mediaTime }) => resolve(mediaTime)));
  const done = happened("seeked");
  video.currentTime = time;
  await done;
  return Promise.race([shown, new Promise((resolve) => setTimeout(resolve, SHOWN_MS))]);
}

function windowSeconds() {
  return Math.min(Math.max(Number(byId("window").value) || 2, 0.1), 600);
}

/** Let offline.js stand between this page and its host from the next load on, which is at once. */
async function becomeOffline() {
  const workers = navigator.serviceWorker;
  if (!workers || workers.controller || sessionStorage.getItem("loaded")) return;
  await workers.register("offline.js");
  await workers.ready;
  sessionStorage.setItem("loaded", "yes");
  location.reload();
  await new Promise(() => {}); // nothing more until then
}

byId("camera").addEventListener("click", watchCamera);
byId("file").addEventListener("change", ({ target }) => {
  if (target.files.length) watchFile(target.files[0]);
  target.value = ""; // the same file may be chosen again
});
video.addEventListener("loadeddata", () => (byId("hint").hidden = true));
video.addEventListener("emptied", () => (byId("hint").hidden = false));
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
addEventListener("drop", ({ dataTransfer }) => {
  if (dataTransfer.files.length && !byId("controls").disabled) watchFile(dataTransfer.files[0]);
});
tell("Loading the network, which takes a while the first time");
await becomeOffline().catch(() => {}); // a browser that refuses shows the page all the same
worker.postMessage({ shape: [model.frames, 3, model.size, model.size] });
