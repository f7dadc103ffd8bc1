// All edits as cards, loaded when they scroll near; with search, filters and sorting.

import { data, entries, MASKS, metricText, OUTCOMES, picturesOf, WHOLE } from "./data.js";
import { byId, duration, make } from "./dom.js";
import { frame, overlays } from "./frame.js";
import { prompt } from "./prompt.js";

/** @typedef {import("./data.js").Entry} Entry */
/** @typedef {import("./frame.js").OverlayKind} OverlayKind */

/** Metrics that a card shows. */
const CARD_METRICS = ["background_psnr", "clip_edited", "alignment"];

/** How far from the window pictures are loaded. */
const LOAD_MARGIN = "900px";

export class Gallery {
  /** @param {import("./detail.js").Detail} detail opens with the card that is chosen */
  constructor(detail) {
    this.detail = detail;
    this.element = byId("gallery", HTMLElement);
    /** The edits that are shown, in order. @type {Entry[]} */
    this.shown = [];
    this.find = byId("find", HTMLInputElement);
    this.masks = byId("masks", HTMLSelectElement);
    this.sort = byId("sort", HTMLSelectElement);
    this.withMasks = byId("all-masks", HTMLInputElement);
    this.outcome = "all";
    const ratios = entries.map((entry) => entry.ratio).sort((a, b) => a - b);
    const middle = ratios[Math.floor(ratios.length / 2)] ?? 4 / 3;
    /** Width over height of every card's picture. */
    this.ratio = Math.min(1.5, Math.max(0.8, middle));
    this.cards = entries.map((entry) => new Card(entry, this));
    const cards = new Map(this.cards.map((card) => [/** @type {Element} */ (card.element), card]));
    this.observer = new IntersectionObserver(
      (seen) => {
        for (const { target, isIntersecting } of seen)
          if (isIntersecting) cards.get(target)?.fill();
      },
      { rootMargin: LOAD_MARGIN },
    );
    this.#controls();
    this.show();
  }

  /** @param {Entry} entry */
  card(entry) {
    return this.cards[entry.index];
  }

  /** Show the edits that the controls ask for. */
  show() {
    const words = this.find.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.shown = entries
      .filter(
        ({ edit, searchText }) =>
          (this.outcome === "all" || edit.outcome === this.outcome) &&
          (this.masks.value === "all" || edit.mask === this.masks.value) &&
          words.every((word) => searchText.includes(word)),
      )
      .sort(order(this.sort.value));
    this.detail.among = this.shown;
    this.element.replaceChildren(...this.shown.map((entry) => this.card(entry).element));
    byId("nothing", HTMLElement).hidden = this.shown.length > 0;
    byId("count", HTMLElement).textContent = `${count(this.shown.length, "edit")} shown`;
    this.observe();
  }

  /** Load the pictures of the cards that are in sight, and of the others when they are near it. */
  observe() {
    for (const entry of this.shown) {
      const { element, filled } = this.card(entry);
      this.observer.unobserve(element);
      if (!filled) this.observer.observe(element);
    }
  }

  #controls() {
    const allOutcomes = this.#outcomes();
    /** @type {Set<string>} */
    const found = new Set(entries.map((entry) => entry.edit.mask));
    this.masks.append(
      make("option", { value: "all", text: "any" }),
      ...Object.entries(MASKS)
        .filter(([mask]) => found.has(mask))
        .map(([value, text]) => make("option", { value, text })),
    );
    const sorts = [
      ["order", "in running order"],
      ["name", "name"],
      ["faults", "failed first"],
      ["newest", "newest first"],
      ["slowest", "slowest first"],
      ...data.metrics.map(({ name, label }) => [name, `${label}, best first`]),
    ];
    this.sort.append(...sorts.map(([value, text]) => make("option", { value, text })));
    for (const select of [this.masks, this.sort])
      select.addEventListener("change", () => this.show());
    this.find.addEventListener("input", () => this.show());
    byId("layers", HTMLElement).hidden = entries.every((entry) => entry.edit.mask === "none");
    this.withMasks.addEventListener("change", () => {
      for (const card of this.cards) card.filled = false;
      this.show();
    });
    byId("reset", HTMLButtonElement).addEventListener("click", () => {
      this.find.value = "";
      this.masks.value = "all";
      allOutcomes.click();
      this.show();
      this.find.focus();
    });
  }

  /** Buttons that show the edits of one outcome; returns the one that shows all. */
  #outcomes() {
    /** @param {string} value @param {string} text */
    const choice = (value, text) => {
      const onchange = () => {
        this.outcome = value;
        this.show();
      };
      const checked = value === this.outcome;
      const input = make("input", { type: "radio", name: "outcome", value, checked, onchange });
      const label = make("label", {}, input, make("span", { text }));
      byId("outcomes", HTMLFieldSetElement).append(label);
      return input;
    };
    const all = choice("all", `All ${entries.length}`);
    for (const outcome of OUTCOMES) {
      const number = countOf(outcome);
      if (number) choice(outcome, `${outcome[0].toUpperCase()}${outcome.slice(1)} ${number}`);
    }
    return all;
  }
}

class Card {
  /** @param {Entry} entry @param {Gallery} gallery */
  constructor(entry, gallery) {
    const { photo, edit } = entry;
    this.entry = entry;
    this.gallery = gallery;
    /** Whether its pictures are there. */
    this.filled = false;
    this.shot = make("div", { class: "shot" });
    this.shot.style.aspectRatio = String(gallery.ratio);
    this.button = make(
      "button",
      { type: "button", class: "open", onclick: () => gallery.detail.open(entry) },
      make("bdi", { text: photo.name }),
      photo.edits.length > 1 || edit.name !== "edit"
        ? make("small", {}, " · ", make("bdi", { text: edit.name }))
        : null,
    );
    this.element = make(
      "article",
      { class: "card" },
      this.shot,
      make(
        "div",
        { class: "body" },
        make("h2", {}, this.button),
        prompt(edit.prompt, "new", photo.source),
        edit.reason ? make("p", { class: "reason", dir: "auto", text: edit.reason }) : null,
        facts(entry),
      ),
    );
  }

  /** Show its pictures, if that part of the page has been loaded. */
  fill() {
    const { entry, gallery } = this;
    const { edit, photo, ratio, chosen } = entry;
    const small = picturesOf(entry);
    if (!small) return;
    this.filled = true;
    gallery.observer.unobserve(this.element);
    this.shot.classList.toggle("failed-shot", !edit.link);
    if (!small.source && !small.after) {
      const text = "no picture that can be shown";
      this.shot.replaceChildren(make("p", { class: "blank", text }));
      return;
    }
    /** @type {Set<OverlayKind>} */
    const kinds = new Set(gallery.withMasks.checked ? ["mask"] : []);
    if (edit.outcome === "mapped") kinds.add("attention");
    const edited = edit.link && edit.outcome === "edited";
    const view = frame({
      name: `${photo.name}, ${edit.name}`,
      before: { source: small.source, part: WHOLE },
      after: edited ? { source: small.after, part: WHOLE } : null,
      over: edit.link ? overlays(entry, small, kinds, chosen?.smoothing) : [],
    });
    const wide = ratio > gallery.ratio;
    view.style.width = wide ? "100%" : `${(ratio / gallery.ratio) * 100}%`;
    view.style.height = wide ? `${(gallery.ratio / ratio) * 100}%` : "100%";
    this.shot.replaceChildren(view);
  }
}

/** What is to be known about an edit, in short. @param {Entry} entry */
function facts({ edit, chosen, seconds }) {
  const fact = (/** @type {string} */ text, title = "") =>
    make("span", { text, title: title || null });
  const line = make("p", { class: "facts" });
  if (edit.outcome !== "edited") {
    const outcome = fact(edit.outcome);
    outcome.classList.toggle("failed", edit.outcome === "failed");
    line.append(outcome);
  }
  if (edit.word) line.append(fact(`word: ${edit.word}`));
  else if (edit.mask === "user") line.append(fact("mask"));
  else if (edit.mask === "blend") line.append(fact("blend mask"));
  else if (["words", "bits", "both"].includes(edit.mask)) line.append(fact(`place: ${edit.mask}`));
  if (edit.variants.length > 1) line.append(fact(count(edit.variants.length, "variant")));
  for (const metric of data.metrics) {
    const value = chosen?.metrics[metric.name] ?? null;
    if (!CARD_METRICS.includes(metric.name) || value === null) continue;
    const label = metric.label.replace(/^Background /, "").replace(/ \(.*/, "");
    line.append(fact(`${label} ${metricText(metric, value)}`, `${metric.label}: ${metric.about}`));
  }
  if (seconds) line.append(fact(duration(seconds), "total time of its jobs"));
  return line;
}

/**
 * A function that compares two entries; entries without a value come last.
 * @param {string} key of the control; a metric's name puts its best value first
 * @returns {(one: Entry, other: Entry) => number}
 */
function order(key) {
  if (key === "name") {
    const { compare } = new Intl.Collator("en", { numeric: true });
    return (one, other) =>
      compare(one.photo.name, other.photo.name) || compare(one.edit.name, other.edit.name);
  }
  const metric = data.metrics.find(({ name }) => name === key);
  /** @type {(entry: Entry) => number | null} */
  const value = ({ edit, chosen, seconds, index }) => {
    if (key === "newest") return edit.made === null ? null : -edit.made;
    if (key === "slowest") return -seconds;
    if (key === "faults") return { failed: 0, "not made": 1, edited: 2, mapped: 2 }[edit.outcome];
    if (!metric) return index;
    const found = chosen?.metrics[key] ?? null;
    return found !== null && metric.higher ? -found : found;
  };
  return (one, other) => {
    const [a, b] = [value(one), value(other)];
    const apart = a === null || b === null ? Number(a === null) - Number(b === null) : a - b;
    return apart || one.index - other.index;
  };
}

/** @param {number} number @param {string} one what is counted */
export function count(number, one) {
  return `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;
}

/** @param {import("./data.js").Outcome} outcome */
export function countOf(outcome) {
  return entries.filter((entry) => entry.edit.outcome === outcome).length;
}
