/** Answers as page elements; everything is set as text, never as markup. */

import { currentLanguage, likelihood, percent, text } from "./i18n.js";

const SVG = "http://www.w3.org/2000/svg";
const ICONS = { species: "check", genus: "branch", unsure: "question", unreadable: "alert" };
const ADVICE = [
  ["close-up", "tipClose"],
  ["single", "tipSingle"],
  ["light", "tipLight"],
  ["branch", "tipPart"],
];

/**
 * @param {import("./decision.js").Answer} answer
 * @returns {Node[]} what the answer section shows.
 */
export function answerNodes(answer) {
  if (answer.kind === "species") return speciesNodes(answer);
  if (answer.kind === "genus") return genusNodes(answer);
  return unsureNodes(answer);
}

/** @returns {Node[]} while the model works. */
export function busyNodes() {
  return [element("p", { class: "busy" }, text("thinking"))];
}

/** @returns {Node[]} for a file that is no photo. */
export function unreadableNodes() {
  return [
    badge("unreadable"),
    element("h2", {}, text("unreadableTitle")),
    element("p", {}, text("unreadableText")),
  ];
}

/**
 * The facts about the model, as terms and descriptions.
 * @param {object} metadata of the bundle.
 * @returns {Node[]}
 */
export function factNodes(metadata) {
  const { threshold } = metadata.calibration;
  const facts = {
    model: metadata.name,
    version: metadata.version,
    weights: metadata.weights,
    classes: metadata.num_classes.toLocaleString(currentLanguage()),
    threshold: threshold === null ? text("never") : percent(threshold),
    labelMap: metadata.label_map.slice(0, 12),
    licence: text(metadata.licence.publishable ? "publishable" : "trial"),
    runtime: "TensorFlow.js (Apache-2.0)",
  };
  return Object.entries(facts).flatMap(([key, value]) => [
    element("dt", {}, text(key)),
    element("dd", {}, value),
  ]);
}

function speciesNodes({ top: [first, ...others] }) {
  const [name, latin] = names(first.taxon);
  return [
    badge("species"),
    element("h2", { class: latin ? "" : "latin" }, name),
    ...(latin ? [element("p", { class: "latin" }, latin)] : []),
    element(
      "p",
      { class: "confidence" },
      element("strong", {}, likelihood(first.probability)),
      ` ${text("confidence")}`,
    ),
    bar(first.probability),
    ...candidates("others", others),
  ];
}

function genusNodes({ genus, top }) {
  const share = likelihood(genus.probability);
  return [
    badge("genus"),
    element(
      "h2",
      {},
      `${text("genusTitle")} `,
      element("em", { class: "latin" }, genus.name),
    ),
    element("p", {}, text("genusText", { genus: genus.name, share })),
    ...candidates("candidates", top),
  ];
}

function unsureNodes({ top }) {
  const advice = ADVICE.map(([name, key]) => element("li", {}, icon(name), text(key)));
  return [
    badge("unsure"),
    element("h2", {}, text("unsureTitle")),
    element("p", {}, text("unsureText")),
    element("ul", { class: "advice" }, ...advice),
    ...candidates("similar", top),
  ];
}

function candidates(title, list) {
  if (list.length === 0) return [];
  const items = list.map(({ taxon, probability }) => {
    const [name, latin] = names(taxon);
    return element(
      "li",
      {},
      element(
        "span",
        { class: "names" },
        element("span", { class: latin ? "name" : "name latin" }, name),
        ...(latin ? [element("span", { class: "latin" }, latin)] : []),
      ),
      element("span", { class: "share" }, likelihood(probability)),
      bar(probability),
    );
  });
  return [
    element("h3", {}, text(title)),
    element("ol", { class: "candidates" }, ...items),
  ];
}

/** @returns {[string, string]} what to call a plant, and its Latin name if not the same. */
function names(taxon) {
  const spanish = currentLanguage() === "es";
  const ordered = [taxon.common_name, taxon.common_name_en];
  const common = (spanish ? ordered : ordered.reverse()).find((name) => name);
  return common ? [common, taxon.latin_name] : [taxon.latin_name, ""];
}

function badge(kind) {
  return element("p", { class: `badge ${kind}` }, icon(ICONS[kind]), text(kind));
}

/** The number stands beside it, so a screen reader need not hear of it. */
function bar(probability) {
  const fill = element("span", {});
  fill.style.width = `${100 * probability}%`;
  return element("span", { class: "meter", "aria-hidden": "true" }, fill);
}

function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

function element(tag, attributes, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    created.setAttribute(name, value);
  }
  created.append(...children);
  return created;
}
