/**
 * The browser's half of stage `validate_export`, which calls `validation` from outside.
 * Photos, preprocessing and models go the way that they go in the app.
 */

import { artifacts } from "./bundle.js";
import { Classifier, startBackend } from "./classifier.js";
import { pixelsOf } from "./preprocess.js";

const classifiers = new Map();

/**
 * @param {string} path
 * @returns {Promise<Response>} rejected unless it is a success.
 */
async function get(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status}`);
  return response;
}

/**
 * Loads one graph model and runs it once.
 * @param {string} name of its directory, used as its key from then on.
 * @returns {Promise<{load: number, first: number}>} milliseconds.
 */
async function load(name, size) {
  const start = performance.now();
  const model = await (await get(`${name}/model.json`)).json();
  const shards = model.weightsManifest.flatMap((group) => group.paths);
  const files = new Map();
  for (const file of ["model.json", ...shards]) {
    files.set(file, await (await get(`${name}/${file}`)).arrayBuffer());
  }
  const classifier = await Classifier.load(artifacts(files));
  const loaded = performance.now();
  await classifier.logits(new Uint8ClampedArray(size * size * 3));
  classifiers.set(name, classifier);
  return { load: loaded - start, first: performance.now() - loaded };
}

/**
 * Prepares a photo and runs every model on it, in the order given.
 * @param {string} photo address of the image file.
 * @param {{size: number, resize: number}} input
 * @param {string[]} names
 * @returns {Promise<object>} {pixels, logits: {name: ...}} in base64, {ms: {name: ...}}.
 */
async function classify(photo, input, names) {
  const pixels = await pixelsOf(await (await get(photo)).blob(), input);
  const result = { pixels: base64(pixels), logits: {}, ms: {} };
  for (const name of names) {
    const start = performance.now();
    const logits = await classifiers.get(name).logits(pixels);
    result.ms[name] = performance.now() - start;
    result.logits[name] = base64(new Uint8Array(logits.buffer));
  }
  return result;
}

function base64(bytes) {
  const characters = Array.from(bytes, (byte) => String.fromCharCode(byte));
  return btoa(characters.join(""));
}

globalThis.validation = { startBackend, load, classify };
