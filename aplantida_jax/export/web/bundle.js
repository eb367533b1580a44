/**
 * Downloads a model bundle and refuses any byte that is not what was published.
 *
 * TensorFlow.js itself looks neither at the HTTP status nor at a hash: an error page
 * would become weights. The chain here is: the app's own `current.json` holds the hash of
 * the bundle's `metadata.json`, which holds the hashes of all the other files.
 */

const CREDITS = "CREDITS";
/** Published with the model, but not needed to answer. */
const NOT_NEEDED = [CREDITS, "calibration.json"];

/** The bundle could not be had whole; `code` is a key of the messages in i18n.js. */
export class BundleError extends Error {
  /**
   * @param {"network" | "altered" | "insecure"} code
   * @param {string} detail for the console.
   */
  constructor(code, detail) {
    super(detail);
    this.code = code;
  }
}

/**
 * @typedef {object} Bundle
 * @property {object} metadata see aplantida_jax/export/bundle.py.
 * @property {Array<object>} classes taxa, in the order of the logits.
 * @property {object} model what `tf.io.fromMemory` takes.
 */

/**
 * @param {string} pointer address of `current.json`: {"metadata": path relative to it,
 *     "sha256": hash of what is there}.
 * @param {(share: number) => void} onProgress called with 0 to 1 as bytes arrive.
 * @returns {Promise<Bundle>}
 */
export async function fetchBundle(pointer, onProgress = () => {}) {
  if (!globalThis.crypto?.subtle) {
    throw new BundleError("insecure", "hashes need https or localhost");
  }
  const current = parse(await download(pointer));
  const metadataUrl = new URL(current.metadata, pointer).href;
  const metadata = parse(await verified(metadataUrl, current.sha256));
  const names = Object.keys(metadata.files).filter((n) => !NOT_NEEDED.includes(n));
  const total = names.reduce((sum, name) => sum + metadata.files[name].bytes, 0);
  let done = 0;
  const count = (bytes) => onProgress((done += bytes) / total);
  const contents = await Promise.all(
    names.map((name) =>
      verified(new URL(name, metadataUrl).href, metadata.files[name].sha256, count),
    ),
  );
  const files = new Map(names.map((name, i) => [name, contents[i]]));
  const labelMap = parse(files.get("classes.json"));
  if (labelMap.fingerprint !== metadata.label_map) {
    throw new BundleError("altered", "classes.json is of another label map");
  }
  return { metadata, classes: labelMap.classes, model: artifacts(files) };
}

/**
 * The text of CREDITS; not fetched with the rest, as few people ask for it.
 * @param {string} pointer as for fetchBundle.
 * @param {object} metadata of that bundle.
 * @returns {Promise<string>}
 */
export async function fetchCredits(pointer, metadata) {
  const current = parse(await download(pointer));
  const url = new URL(CREDITS, new URL(current.metadata, pointer)).href;
  return new TextDecoder().decode(await verified(url, metadata.files[CREDITS].sha256));
}

/**
 * A graph model's files as TensorFlow.js takes them from memory.
 * @param {Map<string, ArrayBuffer>} files model.json and its shards.
 */
export function artifacts(files) {
  const model = parse(files.get("model.json"));
  const shards = model.weightsManifest.flatMap((group) => group.paths);
  return {
    format: model.format,
    generatedBy: model.generatedBy,
    convertedBy: model.convertedBy,
    signature: model.signature,
    modelTopology: model.modelTopology,
    weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
    weightData: joined(shards.map((name) => files.get(name))),
  };
}

async function verified(url, sha256, count = () => {}) {
  const data = await download(url, count);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== sha256) {
    throw new BundleError("altered", `${url} has SHA-256 ${hex}, not ${sha256}`);
  }
  return data;
}

async function download(url, count = () => {}) {
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    const chunks = [];
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return joined(chunks);
      count(value.byteLength);
      chunks.push(value);
    }
  } catch (error) {
    throw new BundleError("network", `${url}: ${error.message}`);
  }
}

function joined(parts) {
  const size = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part instanceof Uint8Array ? part : new Uint8Array(part), at);
    at += part.byteLength;
  }
  return whole.buffer;
}

function parse(buffer) {
  try {
    return JSON.parse(new TextDecoder().decode(buffer));
  } catch (error) {
    throw new BundleError("altered", error.message);
  }
}
