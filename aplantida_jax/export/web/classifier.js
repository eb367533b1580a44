/**
 * A TensorFlow.js graph model: RGB bytes in, logits out.
 *
 * TensorFlow.js comes as classic scripts, which hang themselves on the global `tf`; a
 * module may import them for that effect alone, which needs no bundler and no inline
 * script. `pwa` and `validate_export` put them into `vendor/`.
 */

import "./vendor/tf-core.es2017.min.js";
import "./vendor/tf-converter.es2017.min.js";

const { tf } = globalThis;
const VENDOR = new URL("./vendor/", import.meta.url).href;

/**
 * Starts a backend: "wasm", or "cpu", which is plain JavaScript and many times slower.
 * @param {"wasm" | "cpu"} name
 * @returns {Promise<void>} rejected when the browser can't run it.
 */
export async function startBackend(name) {
  await import(`./vendor/tf-backend-${name}.es2017.min.js`);
  if (name === "wasm") {
    tf.wasm.setWasmPaths(VENDOR);
    // Threads want response headers that a static host seldom sends, are broken on iOS,
    // and gain nothing on a network this small.
    tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
  }
  if (!(await tf.setBackend(name))) throw new Error(`no ${name} backend here`);
  await tf.ready();
}

/** The fastest backend that starts; WebAssembly is off in some locked-down browsers. */
export async function startAnyBackend() {
  try {
    await startBackend("wasm");
  } catch (error) {
    console.warn("WebAssembly is not available, going on in JavaScript:", error.message);
    await startBackend("cpu");
  }
}

/** A loaded model. */
export class Classifier {
  #model;
  #size;

  constructor(model, size) {
    this.#model = model;
    this.#size = size;
  }

  /**
   * @param {object} artifacts from bundle.js.
   * @returns {Promise<Classifier>}
   */
  static async load(artifacts) {
    const model = await tf.loadGraphModel(tf.io.fromMemory(artifacts));
    return new Classifier(model, model.inputs[0].shape[1]);
  }

  /**
   * @param {Uint8ClampedArray} pixels RGB, [size * size * 3].
   * @returns {Promise<Float32Array>} logits, one per class.
   */
  async logits(pixels) {
    const shape = [1, this.#size, this.#size, 3];
    const input = tf.tensor4d(Float32Array.from(pixels), shape);
    const output = this.#model.execute(input);
    try {
      return await output.data();
    } finally {
      tf.dispose([input, output]);
    }
  }
}
