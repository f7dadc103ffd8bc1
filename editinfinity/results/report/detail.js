// The detail view of one edit.

import { data, metricText, picturesOf, WHOLE } from "./data.js";
import { byId, make, makeSvg } from "./dom.js";
import { frame, overlays } from "./frame.js";
import { sections } from "./panel.js";

/** @typedef {import("./data.js").Entry} Entry */
/** @typedef {import("./data.js").Pictures} Pictures */
/** @typedef {import("./data.js").Variant} Variant */
/** @typedef {import("./frame.js").FrameOptions} FrameOptions */
/** @typedef {import("./frame.js").Layer} Layer */
/** @typedef {import("./frame.js").OverlayKind} OverlayKind */

/** Views of the pictures, by the value of their button. */
const MODES = {
  slider: "Slider",
  side: "Side by side",
  original: "Original",
  difference: "Difference",
};
/** @typedef {keyof typeof MODES} Mode */

/** Metrics that the strip of variants shows. */
const STRIP_METRICS = ["background_psnr", "alignment", "clip_edited"];

export class Detail {
  constructor() {
    this.dialog = byId("detail", HTMLDialogElement);
    /** The edits to step through. @type {Entry[]} */
    this.among = [];
    /** @type {Entry | null} */
    this.entry = null;
    /** The variant that is shown; null for the result. @type {Variant | null} */
    this.variant = null;
    /** @type {Mode} */
    this.mode = "slider";
    /** @type {Set<OverlayKind>} */
    this.kinds = new Set();
    this.views = make("div", { class: "views" });
    this.panel = make("div", { class: "panel", tabindex: "-1" });
  }

  /** @param {Entry} entry */
  open(entry) {
    const small = picturesOf(entry);
    if (!small) return;
    this.entry = entry;
    this.variant = null;
    this.#draw(entry, small);
    if (!this.dialog.open) this.dialog.showModal();
    this.panel.scrollTop = 0;
    this.dialog.scrollTop = 0;
    rememberLink(`#${entry.id}`);
  }

  /** Open an edit some places further. @param {number} by */
  step(by) {
    const position = this.entry ? this.among.indexOf(this.entry) : -1;
    // An entry hidden by the filter counts as before the first and after the last.
    const from = position < 0 && by < 0 ? 0 : position;
    const next = this.among[(from + by + this.among.length) % this.among.length];
    if (next) this.open(next);
  }

  /** @param {Mode} mode */
  setMode(mode) {
    this.#input("mode", mode)?.click();
  }

  /** @param {OverlayKind} kind */
  toggle(kind) {
    this.#input("kind", kind)?.click();
  }

  /**
   * @param {string} name
   * @param {string} value
   * @returns {HTMLInputElement | null}
   */
  #input(name, value) {
    return this.dialog.querySelector(`input[name="${name}"][value="${value}"]`);
  }

  /** @param {Entry} entry @param {Pictures} small */
  #draw(entry, small) {
    const position = this.among.indexOf(entry);
    const place = position < 0 ? "" : ` · ${position + 1} of ${this.among.length}`;
    const focused = selectorOf(document.activeElement);
    this.dialog.replaceChildren(
      make(
        "header",
        { class: "head" },
        make(
          "h2",
          { id: "detail-title" },
          make("bdi", { text: entry.photo.name }),
          make("small", {}, " · ", make("bdi", { text: entry.edit.name }), place),
        ),
        iconButton("Previous (k)", "M15 5l-7 7 7 7", () => this.step(-1)),
        iconButton("Next (j)", "M9 5l7 7-7 7", () => this.step(1)),
        iconButton("Close (Esc)", "M6 6l12 12M18 6L6 18", () => this.dialog.close()),
      ),
      make(
        "div",
        { class: "stage on-stage" },
        this.views,
        this.#tools(entry, small),
        this.#strip(entry, small),
      ),
      this.panel,
    );
    this.views.replaceChildren();
    this.#show(entry, small);
    // The focused control was replaced. Focus its counterpart, or keyboard navigation restarts.
    /** @type {HTMLElement | null} */
    const again = focused ? this.dialog.querySelector(focused) : null;
    again?.focus();
  }

  /**
   * Show the pictures and the panel of the chosen variant.
   * @param {Entry} entry
   * @param {Pictures} small
   */
  #show(entry, small) {
    this.#showViews(entry, small);
    this.panel.replaceChildren(...sections(entry, this.variant ?? entry.chosen));
  }

  /**
   * Show the pictures; the slider stays where it is.
   * @param {Entry} entry
   * @param {Pictures} small
   */
  #showViews(entry, small) {
    const slider = () => this.views.querySelector("input");
    const at = slider()?.value;
    const frames = this.#frames(entry, small);
    this.views.replaceChildren(...frames);
    this.views.classList.toggle("two", frames.length > 1);
    const now = slider();
    if (!now || at === undefined) return;
    now.value = at;
    now.dispatchEvent(new Event("input"));
  }

  /**
   * The frames of the current view.
   * @param {Entry} entry
   * @param {Pictures} small
   */
  #frames(entry, small) {
    const { photo, edit } = entry;
    const { variant } = this;
    const shown = variant ? variant.box : WHOLE;
    /** @type {Layer} */
    const before = { source: small.source, part: WHOLE, full: photo.link };
    /** @type {Layer | null} */
    let after = null;
    if (variant) {
      const source = small.variants[variant.name] ?? small.after;
      after = { source, part: variant.box, full: variant.link };
    } else if (edit.link && edit.outcome === "edited")
      after = { source: small.after, part: WHOLE, full: edit.link };
    if (!small.source && !after)
      return [make("p", { class: "blank", text: "There is no picture that can be shown." })];
    const over = overlays(entry, small, this.kinds, (variant ?? entry.chosen)?.smoothing);
    const [width, height] = photo.size ?? [entry.ratio, 1];
    const ratio = (width * shown[2]) / (height * shown[3]);
    /** @param {Partial<FrameOptions>} options */
    const one = (options) => {
      const name = `${photo.name}, ${edit.name}`;
      const view = frame({ name, before, over, shown, ...options });
      view.style.setProperty("--ratio", String(ratio));
      return view;
    };
    if (!after) return [one({ tags: false })];
    if (this.mode === "side") {
      const right = one({ after, tags: false });
      right.classList.add("alone");
      return [one({}), right];
    }
    const view = one({ after });
    if (this.mode !== "slider") view.classList.add(this.mode);
    return [view];
  }

  /**
   * Buttons that choose the view and what is shown over the picture.
   * @param {Entry} entry
   * @param {Pictures} small
   */
  #tools(entry, small) {
    const { edit } = entry;
    const bar = make("div", { class: "tools" });
    if (edit.outcome === "edited" || edit.variants.length)
      bar.append(
        chips(
          "View",
          Object.entries(MODES).map(([value, text]) => {
            const mode = /** @type {Mode} */ (value);
            return chip("radio", "mode", mode, text, mode === this.mode, () => {
              this.mode = mode;
              this.#showViews(entry, small);
            });
          }),
        ),
      );
    /** @type {[OverlayKind, string, boolean][]} */
    const kinds = [
      ["mask", "Mask", Boolean(small.mask)],
      ["kernel", "Kernel", Object.keys(small.kernels).length > 0],
      ["attention", edit.word ? "Attention" : "Prompt map", Boolean(small.attention)],
    ];
    const there = kinds.filter(([, , exists]) => exists);
    if (there.length)
      bar.append(
        chips(
          "Shown over the picture",
          there.map(([kind, text]) =>
            chip("checkbox", "kind", kind, text, this.kinds.has(kind), (checked) => {
              if (checked) this.kinds.add(kind);
              else this.kinds.delete(kind);
              this.#showViews(entry, small);
            }),
          ),
        ),
      );
    return bar;
  }

  /**
   * The variants to choose from, if there are several.
   * @param {Entry} entry
   * @param {Pictures} small
   */
  #strip(entry, small) {
    const { variants, link } = entry.edit;
    if (variants.length < 2) return "";
    /**
     * @param {Variant | null} variant
     * @param {string | undefined} source
     * @param {string} heading
     * @param {string} text
     */
    const tile = (variant, source, heading, text) =>
      make(
        "label",
        {},
        make("input", {
          type: "radio",
          name: "variant",
          checked: variant === this.variant,
          onchange: () => {
            this.variant = variant;
            this.#show(entry, small);
          },
        }),
        make("img", { src: source ?? null, alt: "", decoding: "async", loading: "lazy" }),
        make("b", { text: heading }),
        text ? make("span", { text: ` ${text}` }) : null,
      );
    return make(
      "fieldset",
      { class: "strip" },
      make("legend", { class: "sr", text: "Variants" }),
      link ? tile(null, small.after, "Result", "at full size") : null,
      ...variants.map((variant) => {
        const text = [variant.chosen ? "chosen" : "", ...scores(variant)].filter(Boolean);
        const { name, label } = variant;
        return tile(variant, small.variants[name], label || name, text.join(" · "));
      }),
    );
  }
}

/** Put a fragment into the page's address. @param {string} fragment empty to remove it */
export function rememberLink(fragment) {
  try {
    history.replaceState(null, "", fragment || location.pathname + location.search);
  } catch {
    // Some browsers forbid it for files.
  }
}

/**
 * Selector of the same control after a redraw; null if the control is specific to this edit.
 * @param {Element | null} control
 */
function selectorOf(control) {
  if (control?.matches("#detail button.icon"))
    return `button[aria-label="${control.getAttribute("aria-label")}"]`;
  if (control instanceof HTMLInputElement && control.matches('[name="mode"], [name="kind"]'))
    return `input[name="${control.name}"][value="${control.value}"]`;
  return null;
}

/** @param {string} label @param {string} path of its picture @param {() => void} onclick */
function iconButton(label, path, onclick) {
  return make(
    "button",
    { type: "button", class: "icon", "aria-label": label, title: label, onclick },
    makeSvg(
      "svg",
      { viewBox: "0 0 24 24", "aria-hidden": "true" },
      makeSvg("path", {
        d: path,
        fill: "none",
        stroke: "currentColor",
        "stroke-width": 2,
        "stroke-linecap": "round",
        "stroke-linejoin": "round",
      }),
    ),
  );
}

/** @param {string} legend @param {HTMLElement[]} items */
function chips(legend, items) {
  return make(
    "fieldset",
    { class: "chips" },
    make("legend", { class: "sr", text: legend }),
    ...items,
  );
}

/**
 * @param {"radio" | "checkbox"} type
 * @param {string} name
 * @param {string} value
 * @param {string} text
 * @param {boolean} checked
 * @param {(checked: boolean) => void} onchange
 */
function chip(type, name, value, text, checked, onchange) {
  const input = make("input", { type, name, value, checked });
  input.addEventListener("change", () => onchange(input.checked));
  return make("label", {}, input, make("span", { text }));
}

/** @param {Variant} variant */
function scores({ metrics }) {
  return data.metrics.flatMap((metric) => {
    const value = metrics[metric.name] ?? null;
    return STRIP_METRICS.includes(metric.name) && value !== null ? [metricText(metric, value)] : [];
  });
}
