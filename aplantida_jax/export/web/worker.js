/**
 * The model's thread, so that the page stays alive while it computes.
 *
 * Takes {type: "load", pointer} and {type: "classify", id, photo}; posts {type:
 * "progress", share}, {type: "ready", metadata}, and for each photo {type: "answer", id,
 * answer} or {type: "unreadable", id}; {type: "failed", code} when it can't go on.
 */

import { BundleError, fetchBundle } from "./bundle.js";
import { Classifier, startAnyBackend } from "./classifier.js";
import { decide } from "./decision.js";
import { pixelsOf } from "./preprocess.js";

let bundle;
let classifier;

async function load(pointer) {
  const report = (share) => postMessage({ type: "progress", share });
  [bundle] = await Promise.all([fetchBundle(pointer, report), startAnyBackend()]);
  classifier = await Classifier.load(bundle.model);
  delete bundle.model; // the backend has its own copy of the weights
  const { size } = bundle.metadata.input;
  // The first run allocates and compiles: better now than while somebody waits.
  await classifier.logits(new Uint8ClampedArray(size * size * 3));
  postMessage({ type: "ready", metadata: bundle.metadata });
}

async function classify(id, photo) {
  let pixels;
  try {
    pixels = await pixelsOf(photo, bundle.metadata.input);
  } catch (error) {
    console.warn("not a photo that this browser reads:", error.message);
    postMessage({ type: "unreadable", id });
    return;
  }
  const logits = await classifier.logits(pixels);
  const answer = decide(logits, bundle.classes, bundle.metadata.calibration);
  postMessage({ type: "answer", id, answer });
}

onmessage = async ({ data }) => {
  try {
    await (data.type === "load" ? load(data.pointer) : classify(data.id, data.photo));
  } catch (error) {
    console.error(error);
    const code = error instanceof BundleError ? error.code : "engine";
    postMessage({ type: "failed", code });
  }
};
