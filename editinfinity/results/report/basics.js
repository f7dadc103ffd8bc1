// Helpers for elements, numbers and prompts, and the list of entries to show.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const WHOLE = [0, 0, 1, 1];
const MASKS = { user: "drawn by hand", blend: "a blend mask of your own", attention: "by a word", words: "by the words of both prompts", bits: "by the bits both prompts differ in", both: "by words and bits of both prompts", none: "none" };
const OUTCOMES = ["edited", "mapped", "failed", "not made"];

/** Create an element with properties (text, class, on…, other attributes) and children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") element.textContent = value;
    else if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Create an SVG element. */
function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)} min`;
  return `${Math.floor(whole / 3600)}:${two(Math.floor((whole % 3600) / 60))} h`;
}

function bytes(number) {
  return number < 1e9 ? `${Math.round(number / 1e6)} MB` : `${(number / 1e9).toFixed(1)} GB`;
}

function metricText(metric, value) {
  return `${value.toFixed(metric.digits)}${metric.unit ? ` ${metric.unit}` : ""}`;
}

/** Short label of a metric, for narrow places. */
const shortLabel = (metric) => metric.label.replace(/^Background /, "").replace(/ \(.*/, "");

const countText = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

const entries = data.cases.flatMap((photo, caseIndex) =>
  photo.edits.map((edit, editIndex) => {
    const shared = editIndex === 0 ? photo.stages : [];
    const chosen = edit.variants.find((variant) => variant.chosen) || edit.variants[0] || null;
    return {
      photo, edit, caseIndex, editIndex, chosen,
      id: `${encodeURIComponent(photo.name)}/${encodeURIComponent(edit.name)}`,
      seconds: [...shared, ...edit.stages].reduce((sum, stage) => sum + stage.seconds, 0),
      searchText: `${photo.name} ${edit.name} ${photo.source || ""} ${edit.prompt || ""} ${edit.word || ""} ${edit.reason}`.toLowerCase(),
      ratio: photo.size ? photo.size[0] / photo.size[1] : 4 / 3,
    };
  }),
);
entries.forEach((entry, index) => { entry.index = index; });

const picturesByCase = new Map();
/** Return the pictures of a case; null until the browser has loaded that part of the page. */
function pictures(caseIndex) {
  if (!picturesByCase.has(caseIndex)) {
    const block = $(`p${caseIndex}`);
    if (!block) return document.readyState === "loading" ? null : { edits: [] };
    picturesByCase.set(caseIndex, JSON.parse(block.textContent));
  }
  return picturesByCase.get(caseIndex);
}

function picturesOf(entry) {
  const casePictures = pictures(entry.caseIndex);
  return casePictures && { source: casePictures.source, kernels: {}, variants: {}, ...(casePictures.edits[entry.editIndex] || {}) };
}

/** Compare two prompts word by word: return parts [words, "same" | "old" | "new"], in order. */
function diffWords(before, after) {
  const old = before.split(" "), fresh = after.split(" ");
  if (!before || old.length * fresh.length > 40000) return [[after, "same"]];
  const lengths = Array.from({ length: old.length + 1 }, () => new Uint16Array(fresh.length + 1));
  for (let i = old.length - 1; i >= 0; i -= 1)
    for (let j = fresh.length - 1; j >= 0; j -= 1)
      lengths[i][j] = old[i] === fresh[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
  const parts = [];
  const add = (word, kind) => {
    const last = parts.at(-1);
    if (last && last[1] === kind) last[0] += ` ${word}`;
    else parts.push([word, kind]);
  };
  let i = 0, j = 0;
  while (i < old.length || j < fresh.length) {
    if (i < old.length && j < fresh.length && old[i] === fresh[j]) { add(old[i], "same"); i += 1; j += 1; }
    else if (i < old.length && (j === fresh.length || lengths[i + 1][j] >= lengths[i][j + 1])) { add(old[i], "old"); i += 1; }
    else { add(fresh[j], "new"); j += 1; }
  }
  return parts;
}

/** Create a paragraph with a prompt; mark the words that differ from another prompt, if given. */
function prompt(text, side = null, other = "") {
  if (text === null) return make("p", { class: "prompt muted", text: "the prompt cannot be read" });
  const paragraph = make("p", { class: "prompt", dir: "auto" });
  if (!text) { paragraph.textContent = "no prompt"; paragraph.classList.add("muted"); return paragraph; }
  const parts = side === "new" ? diffWords(other, text) : side === "old" ? diffWords(text, other) : [[text, "same"]];
  for (const [words, kind] of parts) {
    if (kind !== "same" && kind !== side) continue;
    if (paragraph.childNodes.length) paragraph.append(" ");
    paragraph.append(kind === "same" ? words : make(kind === "new" ? "mark" : "s", { text: words }));
  }
  return paragraph;
}
