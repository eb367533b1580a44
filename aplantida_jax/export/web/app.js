/**
 * The page: takes photos, hands them to the worker, shows what it answers.
 *
 * A photo chosen while the model is still loading, or cannot be had, waits for it. Only
 * the answer to the latest photo is shown. Photos go to the worker and nowhere else.
 */

import { fetchCredits } from "./bundle.js";
import { setLanguage, text, translatePage } from "./i18n.js";
import { answerNodes, busyNodes, factNodes, unreadableNodes } from "./view.js";

const POINTER = new URL("models/current.json", document.baseURI).href;

const find = (selector) => document.querySelector(selector);
const state = {
  worker: undefined,
  metadata: undefined, // of the model, once it is ready
  problem: undefined, // key of a message, when the model can't be had
  share: 0, // of the model's bytes that have arrived
  waiting: undefined, // photo without an answer yet
  photo: 0, // number of the latest photo
  show: undefined, // draws the current answer, again after a change of language
};

function startWorker() {
  state.worker?.terminate();
  Object.assign(state, { metadata: undefined, problem: undefined, share: 0 });
  state.worker = new Worker("worker.js", { type: "module" });
  state.worker.onmessage = ({ data }) => handlers[data.type](data);
  state.worker.onerror = () => handlers.failed({ code: "engine" });
  state.worker.postMessage({ type: "load", pointer: POINTER });
  showStatus();
}

const handlers = {
  progress({ share }) {
    state.share = share;
    showStatus();
  },
  ready({ metadata }) {
    state.metadata = metadata;
    showStatus();
    classifyWaiting();
  },
  failed({ code }) {
    Object.assign(state, { metadata: undefined, problem: code });
    find(".answer").hidden = true;
    showStatus();
  },
  answer({ id, answer }) {
    if (id !== state.photo) return;
    state.waiting = undefined;
    show(() => answerNodes(answer));
  },
  unreadable({ id }) {
    if (id !== state.photo) return;
    state.waiting = undefined;
    find(".photo").hidden = true; // the browser can't show it either
    show(unreadableNodes);
  },
};

function classifyWaiting() {
  if (!state.waiting || !state.metadata) return;
  show(busyNodes);
  state.worker.postMessage({ type: "classify", id: state.photo, photo: state.waiting });
}

/** @param {File | undefined} photo undefined when a file dialog was left empty. */
function take(photo) {
  if (!photo) return;
  state.photo += 1;
  state.waiting = photo;
  const image = find(".photo img");
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(photo);
  find(".photo").hidden = false;
  if (!state.problem) show(busyNodes);
  classifyWaiting();
}

function show(draw) {
  state.show = draw;
  document.body.dataset.state = draw === busyNodes ? "busy" : "answer";
  const section = find(".answer");
  section.hidden = false;
  section.setAttribute("aria-busy", draw === busyNodes);
  section.replaceChildren(...draw());
}

function showStatus() {
  const { metadata, problem, share } = state;
  const progress = find(".status progress");
  progress.value = share;
  progress.hidden = Boolean(metadata || problem);
  find("#retry").hidden = !problem;
  find(".status").dataset.problem = problem ?? "";
  let line = text("loading");
  if (problem) line = text(problem);
  if (metadata) {
    line = text("ready", { version: metadata.version, classes: metadata.num_classes });
  }
  find("#status").textContent = line;
}

async function showAbout() {
  const credits = find(".credits");
  find(".facts").replaceChildren(...(state.metadata ? factNodes(state.metadata) : []));
  find("dialog").showModal();
  if (!state.metadata || credits.textContent) return;
  try {
    credits.textContent = await fetchCredits(POINTER, state.metadata);
  } catch (error) {
    credits.textContent = text(error.code);
  }
}

function listenToDrops() {
  const over = (isOver) => document.body.classList.toggle("dropping", isOver);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) over(false);
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    take(event.dataTransfer.files[0]);
  });
}

function listen() {
  for (const input of document.querySelectorAll(".file")) {
    input.addEventListener("change", () => {
      take(input.files[0]);
      input.value = ""; // the same photo again is a change too
    });
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      setLanguage(button.dataset.language);
      translatePage();
      showStatus();
      if (state.show) show(state.show);
    });
  }
  find("#retry").addEventListener("click", startWorker);
  find("#about").addEventListener("click", showAbout);
  listenToDrops();
}

translatePage();
listen();
startWorker();
