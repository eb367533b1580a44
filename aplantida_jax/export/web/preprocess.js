/**
 * From a photo to the pixels that the network sees, with no resampling by the browser.
 *
 * In: a Blob (JPEG, PNG, ...). Out: RGB bytes [size * size * 3], row by row.
 *
 * The arithmetic is that of OpenCV's `resize` on 8-bit images, which evaluation in Python
 * uses (aplantida_jax/data/transforms.py): INTER_AREA to shrink, INTER_LINEAR to enlarge.
 * Roundings to float32 (`Math.fround`) and to integers follow it step by step, so that
 * both sides give the same bytes and a photo means the same in the app as in the report.
 */

const LONGEST_CANVAS = 4096; // side; Safari on phones draws nothing above 16.7 megapixels
const FIXED_ONE = 2048; // of OpenCV's bilinear weights, 11 bits

/**
 * The square that "resize the short side to `resize`, crop the centre" would keep.
 * @param {number} width
 * @param {number} height
 * @param {{size: number, resize: number}} input
 * @returns {{x: number, y: number, side: number}}
 */
export function centreBox(width, height, { size, resize }) {
  const short = Math.min(width, height);
  const side = Math.min(short, Math.max(1, Math.floor((short * size) / resize + 0.5)));
  return {
    x: Math.floor((width - side) / 2),
    y: Math.floor((height - side) / 2),
    side,
  };
}

/**
 * Decodes a photo, upright, and prepares it.
 * @param {Blob} blob
 * @param {{size: number, resize: number}} input
 * @returns {Promise<Uint8ClampedArray>} RGB, [size * size * 3].
 */
export async function pixelsOf(blob, input) {
  // Colour profiles are ignored, as the photos that the model learned from were read.
  const bitmap = await createImageBitmap(blob, {
    imageOrientation: "from-image",
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  try {
    const { x, y, side } = centreBox(bitmap.width, bitmap.height, input);
    const drawn = Math.min(side, LONGEST_CANVAS);
    const canvas = new OffscreenCanvas(drawn, drawn);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white"; // under transparent pixels
    context.fillRect(0, 0, drawn, drawn);
    context.drawImage(bitmap, x, y, side, side, 0, 0, drawn, drawn);
    const { data } = context.getImageData(0, 0, drawn, drawn);
    return resample(data, drawn, input.size);
  } finally {
    bitmap.close();
  }
}

/**
 * Resamples a square picture.
 * @param {Uint8ClampedArray} rgba [side * side * 4]; alpha is ignored.
 * @param {number} side
 * @param {number} size of the result.
 * @returns {Uint8ClampedArray} RGB, [size * size * 3].
 */
export function resample(rgba, side, size) {
  if (side < size) return enlarge(rgba, side, size);
  return side % size === 0 ? shrinkWhole(rgba, side, size) : shrink(rgba, side, size);
}

/** Means over blocks of whole pixels. */
function shrinkWhole(rgba, side, size) {
  const out = new Uint8ClampedArray(size * size * 3);
  const factor = side / size;
  const scale = Math.fround(1 / (factor * factor));
  let at = 0;
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let i = 0; i < factor; i++) {
          let from = ((row * factor + i) * side + column * factor) * 4 + channel;
          for (let j = 0; j < factor; j++, from += 4) sum += rgba[from];
        }
        // OpenCV rounds halves up at 2x2, and to even elsewhere.
        out[at++] =
          factor === 2 ? (sum + 2) >> 2 : roundHalfEven(Math.fround(sum * scale));
      }
    }
  }
  return out;
}

/** Means over blocks that cover pixels in part. */
function shrink(rgba, side, size) {
  const out = new Uint8ClampedArray(size * size * 3);
  const cells = coverage(side, size);
  const line = new Float32Array(size * 3);
  const sum = new Float32Array(size * 3);
  for (let row = 0; row < size; row++) {
    sum.fill(0);
    for (const [from, weight] of cells[row]) {
      shrinkLine(rgba, from * side * 4, cells, line);
      for (let i = 0; i < line.length; i++) {
        sum[i] += Math.fround(line[i] * weight);
      }
    }
    const at = row * size * 3;
    for (let i = 0; i < sum.length; i++) out[at + i] = roundHalfEven(sum[i]);
  }
  return out;
}

function shrinkLine(rgba, start, cells, line) {
  line.fill(0);
  for (let column = 0; column < cells.length; column++) {
    const at = column * 3;
    for (const [from, weight] of cells[column]) {
      const pixel = start + from * 4;
      line[at] += Math.fround(rgba[pixel] * weight);
      line[at + 1] += Math.fround(rgba[pixel + 1] * weight);
      line[at + 2] += Math.fround(rgba[pixel + 2] * weight);
    }
  }
}

/**
 * Which source pixels an output pixel covers, and how much of it each one makes up.
 * @returns {Array<Array<[number, number]>>} per output pixel, [source index, weight].
 */
function coverage(side, size) {
  const scale = side / size;
  const negligible = 1e-3; // OpenCV leaves slivers out
  return Array.from({ length: size }, (_, index) => {
    const start = index * scale;
    const end = start + scale;
    const width = Math.min(scale, side - start);
    const last = Math.min(Math.floor(end), side - 1);
    const first = Math.min(Math.ceil(start), last);
    const cells = [];
    if (first - start > negligible) {
      cells.push([first - 1, Math.fround((first - start) / width)]);
    }
    for (let i = first; i < last; i++) cells.push([i, Math.fround(1 / width)]);
    if (end - last > negligible) {
      const part = Math.min(end - last, 1, width);
      cells.push([last, Math.fround(part / width)]);
    }
    return cells;
  });
}

/** Bilinear, pixel centres at half-integers, in OpenCV's fixed-point arithmetic. */
function enlarge(rgba, side, size) {
  const out = new Uint8ClampedArray(size * size * 3);
  const taps = bilinearTaps(side, size);
  const blend = (row, { first, second, weights }, channel) =>
    rgba[(row * side + first) * 4 + channel] * weights[0] +
    rgba[(row * side + second) * 4 + channel] * weights[1];
  let at = 0;
  for (const down of taps) {
    for (const across of taps) {
      for (let channel = 0; channel < 3; channel++) {
        const upper = blend(down.first, across, channel) >> 4;
        const lower = blend(down.second, across, channel) >> 4;
        const sum =
          ((upper * down.weights[0]) >> 16) + ((lower * down.weights[1]) >> 16);
        out[at++] = (sum + 2) >> 2;
      }
    }
  }
  return out;
}

/** The two source pixels of each output pixel, and their weights out of FIXED_ONE. */
function bilinearTaps(side, size) {
  const scale = side / size;
  return Array.from({ length: size }, (_, index) => {
    const centre = Math.fround((index + 0.5) * scale - 0.5);
    const floor = Math.floor(centre);
    const part = Math.fround(centre - floor);
    const clamp = (position) => Math.max(0, Math.min(side - 1, position));
    return {
      first: clamp(floor),
      second: clamp(floor + 1),
      weights: [
        roundHalfEven(Math.fround(Math.fround(1 - part) * FIXED_ONE)),
        roundHalfEven(Math.fround(part * FIXED_ONE)),
      ],
    };
  });
}

function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest > 0.5 ? floor + 1 : floor;
  return floor % 2 === 0 ? floor : floor + 1;
}
