// What the network sees of a video, as gateshift's own code gives it in Python: which frames, and their very bytes.

/** When the frames of a window are shown: in the middles of as many equal parts. Seconds. */
export function frameTimes({ start, end }, count) {
  const part = (end - start) / count;
  // A frame that begins at this very moment is meant, and no rounding may lead to the one before it.
  return Array.from({ length: count }, (_, number) => start + (number + 0.5) * part + 1e-3);
}

/** The windows of a clip; the last one ends with it, and a shorter clip is one window. Seconds. */
export function windowsOf(clip, size, hop) {
  const windows = [];
  for (let { start } = clip; start + size <= clip.end + 1e-6; start += hop) windows.push({ start, end: start + size });
  if (!windows.length || windows.at(-1).end < clip.end - 1e-6) {
    windows.push({ start: Math.max(clip.end - size, clip.start), end: clip.end });
  }
  return windows;
}

/**
 * The region of a picture that the network was trained on: x0, y0, x1, y1 as shares of it if all are up to 1, else in
 * pixels; without one all of the picture.
 */
export function boxOf(box, width, height) {
  const [x0, y0, x1, y1] = box ?? [0, 0, 1, 1];
  const [across, down] = Math.max(x0, y0, x1, y1) <= 1 ? [1, 1] : [width, height];
  if (x1 > across || y1 > down) {
    throw new Error(`The box ${box} of this model reaches beyond a picture of ${width} x ${height} pixels`);
  }
  const [left, right] = [x0, x1].map((edge) => Math.floor((edge / across) * width + 0.5));
  const [top, bottom] = [y0, y1].map((edge) => Math.floor((edge / down) * height + 0.5));
  if (Math.min(right - left, bottom - top) < Math.min(4, width, height)) {
    throw new Error(`The box ${box} of this model is too small in a picture of ${width} x ${height} pixels`);
  }
  return { left, top, width: right - left, height: bottom - top };
}

/**
 * The center crop of a frame: RGBA bytes {data, width, height} -> RGB planes [3, size, size].
 * The short side is resized to `resize` pixels first; without that, the whole frame becomes the square.
 */
export function cropFrame({ data, width, height }, size, resize) {
  const short = Math.min(width, height);
  const [toWidth, toHeight] = resize
    ? [width, height].map((side) => (side === short ? resize : Math.floor((resize * side) / short)))
    : [size, size];
  const [left, top] = [toWidth, toHeight].map((side) => roundHalfToEven((side - size) / 2));
  const columns = tapsOf(width, toWidth, left, size);
  const rows = tapsOf(height, toHeight, top, size);
  const first = rows.starts[0];
  const last = rows.starts[size - 1] + rows.counts[size - 1];
  const middle = new Uint8ClampedArray((last - first) * size * 3); // rows of the frame, columns of the crop
  for (let y = first, to = 0; y < last; y++) {
    for (let x = 0; x < size; x++) {
      let from = (y * width + columns.starts[x]) * 4;
      let [red, green, blue] = [columns.half, columns.half, columns.half];
      for (let tap = x * columns.most, end = tap + columns.counts[x]; tap < end; tap++, from += 4) {
        const weight = columns.weights[tap];
        red += data[from] * weight;
        green += data[from + 1] * weight;
        blue += data[from + 2] * weight;
      }
      middle[to++] = red >> columns.precision;
      middle[to++] = green >> columns.precision;
      middle[to++] = blue >> columns.precision;
    }
  }
  const crop = new Uint8ClampedArray(3 * size * size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      for (let color = 0; color < 3; color++) {
        let from = ((rows.starts[y] - first) * size + x) * 3 + color;
        let sum = rows.half;
        for (let tap = y * rows.most, end = tap + rows.counts[y]; tap < end; tap++, from += 3 * size) {
          sum += middle[from] * rows.weights[tap];
        }
        crop[(color * size + y) * size + x] = sum >> rows.precision;
      }
    }
  }
  return crop;
}

/**
 * Which pixels of a line make each of `count` pixels of a resized one, from `first` on, and how much of each: antialiased,
 * bilinear, in the whole numbers that torch computes bytes with.
 */
function tapsOf(from, to, first, count) {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  const most = 2 * Math.ceil(reach) + 1;
  const [starts, counts, shares] = [new Int32Array(to), new Int32Array(to), new Float64Array(to * most)];
  let largest = 0;
  for (let place = 0; place < to; place++) {
    const center = scale * (place + 0.5);
    starts[place] = Math.max(Math.trunc(center - reach + 0.5), 0);
    counts[place] = Math.min(Math.trunc(center + reach + 0.5), from) - starts[place];
    const own = shares.subarray(place * most, place * most + counts[place]);
    own.forEach((_, tap) => {
      own[tap] = Math.max(1 - Math.abs((tap + starts[place] - center + 0.5) / reach), 0);
    });
    const total = own.reduce((sum, share) => sum + share, 0);
    own.forEach((share, tap) => {
      own[tap] = share / total;
      largest = Math.max(largest, own[tap]);
    });
  }
  let precision = 0;
  while (precision < 22 && Math.trunc(0.5 + largest * 2 ** (precision + 1)) < 2 ** 15) precision++;
  const weights = Int32Array.from(shares.subarray(first * most, (first + count) * most), (share) =>
    Math.trunc(0.5 + share * 2 ** precision),
  );
  const [cutStarts, cutCounts] = [starts, counts].map((each) => each.subarray(first, first + count));
  return { starts: cutStarts, counts: cutCounts, weights, most, precision, half: precision ? 2 ** (precision - 1) : 0 };
}

function roundHalfToEven(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}
