// Starts the report: its summary, keyboard shortcuts and colours.

import { data, entries } from "./data.js";
import { Detail, rememberLink } from "./detail.js";
import { byId, duration } from "./dom.js";
import { count, countOf, Gallery } from "./gallery.js";
import { offerThemes } from "./theme.js";

/** @typedef {import("./detail.js").Mode} Mode */
/** @typedef {import("./frame.js").OverlayKind} OverlayKind */

/** Pictures that are waited for when the time to the first view is measured. */
const FIRST_VIEW = 12;

/** @type {Record<string, Mode>} */
const MODE_KEYS = { 1: "slider", 2: "side", 3: "original", 4: "difference" };
/** @type {Record<string, OverlayKind>} */
const OVERLAY_KEYS = { m: "mask", g: "kernel", a: "attention" };

const detail = new Detail();
const gallery = new Gallery(detail);
const keys = byId("keys", HTMLDialogElement);

/** Whether keys are text for this element. @param {Element} target */
function takesText(target) {
  return target.matches("textarea, input:not([type=range], [type=radio], [type=checkbox])");
}

/**
 * Do what a key means while an edit is open.
 * @param {string} key
 * @param {Element} target
 * @returns {boolean} whether it means anything
 */
function detailKey(key, target) {
  const by = { j: 1, k: -1, ArrowRight: 1, ArrowLeft: -1 }[key];
  if (by && !(key.startsWith("Arrow") && target.matches("input"))) detail.step(by);
  else if (key in MODE_KEYS) detail.setMode(MODE_KEYS[key]);
  else if (key in OVERLAY_KEYS) detail.toggle(OVERLAY_KEYS[key]);
  else return false;
  return true;
}

/**
 * Move the focus between the cards.
 * @param {string} key an arrow
 * @param {Element} target
 * @returns {boolean} whether it means anything there
 */
function galleryArrow(key, target) {
  const cards = gallery.shown.map((entry) => gallery.card(entry));
  const onCard = target.matches(".open");
  if (!onCard && target !== document.body && target !== gallery.element) return false;
  const tops = cards.map((card) => card.element.offsetTop);
  const wrap = tops.findIndex((top) => top !== tops[0]);
  const columns = wrap < 0 ? tops.length : wrap;
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[key];
  const now = cards.findIndex((card) => card.element.contains(target));
  if (by === undefined || (now < 0 && key !== "ArrowRight")) return false;
  cards[now + by]?.button.focus();
  return true;
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (!(target instanceof Element) || takesText(target) || keys.open) return;
  let handled = true;
  if (detail.dialog.open) handled = detailKey(key, target);
  else if (key === "/") gallery.find.focus();
  else if (key === "?") keys.showModal();
  else handled = galleryArrow(key, target);
  if (handled) event.preventDefault();
});

detail.dialog.addEventListener("close", () => {
  rememberLink("");
  if (detail.entry) gallery.card(detail.entry).button.focus();
});
keys.addEventListener("click", (event) => {
  if (event.target === keys) keys.close();
});
byId("help", HTMLButtonElement).addEventListener("click", () => keys.showModal());
offerThemes(byId("theme", HTMLButtonElement));

/** Open the edit that the page's address names. */
function openLinked() {
  const linked = entries.find((entry) => `#${entry.id}` === location.hash);
  if (linked && !(detail.dialog.open && detail.entry === linked)) detail.open(linked);
}
addEventListener("hashchange", openLinked);

const seconds = entries.reduce((sum, entry) => sum + entry.seconds, 0);
byId("summary", HTMLElement).textContent = [
  count(data.cases.length, "photograph"),
  `${countOf("edited") + countOf("mapped")} of ${count(entries.length, "edit")} made`,
  seconds ? `${duration(seconds)} of job time` : "",
  `model ${data.settings.model}`,
  new Date(data.made * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }),
]
  .filter(Boolean)
  .join(" · ");
if (!entries.length) byId("nothing", HTMLElement).textContent = "Nothing has been made yet.";

// Show the pictures that are loaded already, and the others once they have loaded.
for (const entry of gallery.shown.slice(0, FIRST_VIEW)) gallery.card(entry).fill();
const visible = [...gallery.element.querySelectorAll("img")].slice(0, FIRST_VIEW);
Promise.allSettled(visible.map((picture) => picture.decode())).then(() =>
  requestAnimationFrame(() => performance.mark("first-view")),
);
addEventListener("DOMContentLoaded", () => {
  gallery.observe();
  openLinked();
  performance.mark("all-there");
});
