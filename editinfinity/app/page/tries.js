// The strip of tries: every picture drawn from a photograph, to go back to.

import { address } from "./api.js";
import { byId, duration, make } from "./dom.js";

/** @typedef {import("./api.js").Try} Try */
/** @typedef {import("./api.js").Setting} Setting */

const STATES = {
  queued: "waiting",
  learning: "learning",
  drawing: "drawing",
  saving: "saving",
  done: "",
  failed: "failed",
  cancelled: "cancelled",
};

const ACTIVE = ["queued", "learning", "drawing", "saving"];

export class Tries {
  /** @param {(chosen: Try) => void} onchoose called when the person chooses a try */
  constructor(onchoose) {
    this.onchoose = onchoose;
    this.strip = byId("tries", HTMLDivElement);
    this.empty = byId("no-tries", HTMLParagraphElement);
    this.panel = byId("chosen", HTMLElement);
    /** @type {Try[]} */
    this.all = [];
    /** Number of the try that is shown. @type {number | null} */
    this.chosen = null;
    /** @type {string} */
    this.photograph = "";
    /** The items of the strip, by all that they show. @type {Map<string, HTMLLabelElement>} */
    this.items = new Map();
    /** @type {Setting[]} */
    this.declared = [];
  }

  /** @returns {Try | undefined} */
  get current() {
    return this.all.find((each) => each.n === this.chosen);
  }

  /** The try that is being made or waits. @returns {Try | undefined} */
  get active() {
    return this.all.find((each) => ACTIVE.includes(each.state));
  }

  /** @param {string} photograph @param {Try[]} all */
  show(photograph, all) {
    if (photograph !== this.photograph) this.chosen = null;
    this.photograph = photograph;
    this.all = all;
    if (!this.current) this.chosen = null;
    this.#draw();
  }

  /** @param {number | null} n */
  choose(n) {
    this.chosen = n;
    this.#draw();
  }

  #draw() {
    this.empty.hidden = this.all.length > 0;
    this.#drawStrip();
    const { current } = this;
    this.panel.hidden = !current;
    if (!current) return;
    byId("chosen-title", HTMLHeadingElement).textContent = `Try ${current.n}`;
    byId("chosen-line", HTMLParagraphElement).textContent = [
      STATES[current.state],
      this.#differs(current),
      current.seconds == null ? "" : duration(current.seconds),
      current.line,
    ]
      .filter(Boolean)
      .join(" · ");
    const done = current.state === "done";
    const download = byId("download", HTMLAnchorElement);
    download.hidden = !done;
    download.href = address.download(this.photograph, current.n);
    byId("further", HTMLButtonElement).hidden = !done;
    byId("save-case", HTMLButtonElement).hidden = !current.prompt;
  }

  /** Make the items of tries that have changed; the others keep their pictures and the focus. */
  #drawStrip() {
    /** @type {Map<string, HTMLLabelElement>} */
    const items = new Map();
    for (const each of this.all) {
      const key = JSON.stringify([this.photograph, each]);
      const item = this.items.get(key) ?? this.#item(each);
      items.set(key, item);
      const input = /** @type {HTMLInputElement} */ (item.control);
      input.checked = each.n === this.chosen;
    }
    const before = [...this.items.values()];
    const now = [...items.values()];
    this.items = items;
    if (before.length !== now.length || now.some((item, at) => item !== before[at]))
      this.strip.replaceChildren(...now.reverse()); // the newest first
  }

  /** What is not as usual. @param {Try} each */
  #differs(each) {
    return this.declared
      .filter(({ name, value }) => name in each.settings && each.settings[name] !== value)
      .map(({ name, label }) => `${label} ${each.settings[name]}`)
      .join(" · ");
  }

  /** @param {Try} each */
  #item(each) {
    const { photograph } = this;
    const state = STATES[each.state];
    const label = `Try ${each.n}${state ? `, ${state}` : ""}: ${each.prompt}`;
    const input = make("input", {
      type: "radio",
      name: "try",
      value: each.n,
      "aria-label": label,
      // Also when it is chosen already: then it gives back what was changed since.
      onclick: () => this.onchoose(each),
    });
    const details = [this.#differs(each), each.seconds == null ? "" : duration(each.seconds)];
    return make(
      "label",
      { title: `${each.prompt}\n${details.filter(Boolean).join(" · ")}` },
      input,
      each.state === "done"
        ? make("img", {
            src: address.result(photograph, each.n, 256),
            alt: "",
            loading: "lazy",
            decoding: "async",
          })
        : make("span", { class: "blank", "aria-hidden": "true", text: state }),
      make("b", { dir: "auto", text: each.prompt }),
      make("span", { text: details.filter(Boolean).join(" · ") || `Try ${each.n}` }),
    );
  }
}
