/** The app's words, Spanish and English, and how numbers are written. */

const MESSAGES = {
  es: {
    title: "¿Qué planta es?",
    lead: "Hazle una foto a la flor, la hoja o el fruto.",
    shoot: "Hacer una foto",
    pick: "Elegir una foto",
    drop: "o arrástrala a esta página",
    photo: "Foto",
    tipClose: "Acércate: que la planta llene el cuadro.",
    tipSingle: "Una sola planta, con el fondo despejado.",
    tipLight: "Con buena luz y sin movimiento.",
    tipPart: "Prueba con otra parte: la flor o el fruto dicen más que la hoja.",
    private: "Tus fotos no salen de este dispositivo.",
    warning:
      "Puede equivocarse: no comas ni uses como remedio una planta solo por lo que diga.",
    about: "Modelo y créditos",
    close: "Cerrar",
    credits: "Créditos",
    retry: "Reintentar",
    loading: "Preparando el modelo…",
    ready: "Modelo {version} · {classes} especies",
    thinking: "Identificando…",
    species: "Identificada",
    genus: "Solo el género",
    genusTitle: "Género",
    genusText:
      "Es del género {genus} con una confianza del {share}, pero la foto no basta para decir la especie.",
    unsure: "No concluyente",
    unsureTitle: "Con esta foto no lo sé",
    unsureText: "Ninguna planta encaja lo bastante bien. Para la próxima foto:",
    confidence: "de confianza",
    others: "Otras posibilidades",
    candidates: "Especies posibles",
    similar: "Lo que más se parece, sin confirmar",
    unreadable: "Foto ilegible",
    unreadableTitle: "Este archivo no se puede abrir",
    unreadableText: "Prueba con una foto en JPEG, PNG o WebP.",
    network: "No se pudo descargar el modelo. Comprueba la conexión.",
    altered: "El modelo descargado no es el publicado, y no se va a usar.",
    insecure: "La aplicación necesita https para comprobar el modelo.",
    engine: "Este navegador no puede ejecutar el modelo. Prueba a actualizarlo.",
    model: "Modelo",
    version: "Versión",
    weights: "Pesos",
    classes: "Especies",
    threshold: "Umbral de respuesta",
    never: "ninguno alcanza la precisión pedida",
    labelMap: "Lista de especies",
    licence: "Licencia",
    runtime: "Motor",
    publishable: "apto para publicar",
    trial: "solo para pruebas: hay datos o pesos que no se pueden publicar",
  },
  en: {
    title: "Which plant is it?",
    lead: "Take a photo of its flower, leaf or fruit.",
    shoot: "Take a photo",
    pick: "Choose a photo",
    drop: "or drop it on this page",
    photo: "Photo",
    tipClose: "Come closer: let the plant fill the frame.",
    tipSingle: "One plant only, with a plain background.",
    tipLight: "In good light, and hold still.",
    tipPart: "Try another part: a flower or fruit tells more than a leaf.",
    private: "Your photos never leave this device.",
    warning:
      "It can be wrong: never eat a plant, or use it as a remedy, on its word alone.",
    about: "Model and credits",
    close: "Close",
    credits: "Credits",
    retry: "Try again",
    loading: "Getting the model ready…",
    ready: "Model {version} · {classes} species",
    thinking: "Identifying…",
    species: "Identified",
    genus: "Genus only",
    genusTitle: "Genus",
    genusText:
      "It is a {genus} with {share} confidence, but this photo does not tell which species.",
    unsure: "Not conclusive",
    unsureTitle: "This photo does not tell me",
    unsureText: "No plant fits well enough. For the next photo:",
    confidence: "confidence",
    others: "Other possibilities",
    candidates: "Possible species",
    similar: "Most similar, not confirmed",
    unreadable: "Unreadable photo",
    unreadableTitle: "This file can't be opened",
    unreadableText: "Try a photo in JPEG, PNG or WebP.",
    network: "The model could not be downloaded. Check the connection.",
    altered: "The downloaded model is not the published one, and will not be used.",
    insecure: "The app needs https to check the model.",
    engine: "This browser can't run the model. Try to update it.",
    model: "Model",
    version: "Version",
    weights: "Weights",
    classes: "Species",
    threshold: "Answers from",
    never: "none reaches the required accuracy",
    labelMap: "Species list",
    licence: "Licence",
    runtime: "Runtime",
    publishable: "fit to publish",
    trial: "for trials only: some data or weights may not be published",
  },
};
const STORED = "language";

let language = preferred();

function preferred() {
  const wanted = [stored(), ...navigator.languages];
  const known = wanted.map((tag) => tag?.slice(0, 2)).find((tag) => tag in MESSAGES);
  return known ?? "es";
}

function stored() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null; // a browser that keeps nothing for sites
  }
}

/** @returns {string} "es" or "en". */
export function currentLanguage() {
  return language;
}

/** @param {string} chosen "es" or "en"; kept for the next visit where that is possible. */
export function setLanguage(chosen) {
  language = chosen;
  try {
    localStorage.setItem(STORED, chosen);
  } catch (error) {
    console.warn("the language will not be remembered:", error.message);
  }
}

/**
 * @param {string} key
 * @param {Object<string, string | number>} values for the {names} in the message.
 * @returns {string}
 */
export function text(key, values = {}) {
  return MESSAGES[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** @returns {string} 0.873 -> "87 %". */
export function percent(share) {
  return new Intl.NumberFormat(language, { style: "percent" }).format(share);
}

/** @returns {string} the same of a probability: never certain, never impossible. */
export function likelihood(probability) {
  if (probability < 0.01) return `< ${percent(0.01)}`;
  return percent(Math.min(probability, 0.99));
}

/** Writes the current language into everything that the page's HTML marks for it. */
export function translatePage() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text);
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
  }
  for (const element of document.querySelectorAll("[data-alt]")) {
    element.alt = text(element.dataset.alt);
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", button.dataset.language === language);
  }
}
