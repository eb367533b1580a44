/**
 * From logits to an answer: a species, only a genus, or "not conclusive".
 *
 * The same rule as aplantida_jax/evaluate/calibration.py, so that the accuracy and
 * coverage that the report promises are those of the app.
 */

const SHOWN = 5;

/**
 * @typedef {object} Answer
 * @property {"species" | "genus" | "unsure"} kind
 * @property {Array<{taxon: object, probability: number}>} top most probable first.
 * @property {{name: string, probability: number}} genus with the greatest sum.
 */

/**
 * @param {Float32Array} logits
 * @param {number} temperature
 * @returns {Float64Array} softmax(logits / temperature).
 */
export function probabilities(logits, temperature) {
  const scaled = Float64Array.from(logits, (logit) => logit / temperature);
  const greatest = scaled.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = scaled.map((value) => Math.exp(value - greatest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/**
 * @param {Float32Array} logits one per class.
 * @param {Array<{genus: string}>} classes
 * @param {{temperature: number, threshold: ?number, genus_threshold: ?number}} calibration
 *     a null threshold is never reached.
 * @returns {Answer}
 */
export function decide(logits, classes, calibration) {
  const probability = probabilities(logits, calibration.temperature);
  const order = Array.from(probability.keys()).sort(
    (a, b) => probability[b] - probability[a] || a - b,
  );
  const top = order
    .slice(0, SHOWN)
    .map((index) => ({ taxon: classes[index], probability: probability[index] }));
  const genus = likeliestGenus(probability, classes);
  let kind = "unsure";
  if (reaches(top[0].probability, calibration.threshold)) kind = "species";
  else if (reaches(genus.probability, calibration.genus_threshold)) kind = "genus";
  return { kind, top, genus };
}

function likeliestGenus(probability, classes) {
  const sums = new Map();
  classes.forEach(({ genus }, index) => {
    sums.set(genus, (sums.get(genus) ?? 0) + probability[index]);
  });
  let best = { name: "", probability: -1 };
  for (const [name, sum] of sums) {
    const first = sum === best.probability && name < best.name;
    if (sum > best.probability || first) best = { name, probability: sum };
  }
  return best;
}

function reaches(probability, threshold) {
  return threshold !== null && probability >= threshold;
}
