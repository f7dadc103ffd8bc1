// A frame that shows a picture: stacked layers and a slider.

import { WHOLE } from "./data.js";
import { make } from "./dom.js";

/** @typedef {import("./data.js").Box} Box */
/**
 * A picture in a frame.
 * @typedef {object} Layer
 * @property {string | undefined} source the small picture
 * @property {Box} part what it shows of the photograph
 * @property {string | null} [full] link to the picture at full size
 */
/** @typedef {"mask" | "kernel" | "attention"} OverlayKind */
/** @typedef {Layer & {kind: OverlayKind}} Overlay */
/**
 * @typedef {object} FrameOptions
 * @property {string} name for screen readers
 * @property {Layer} before
 * @property {Layer | null} [after]
 * @property {Overlay[]} [over]
 * @property {Box} [shown] the part of the photograph in the frame
 * @property {boolean} [tags] whether the sides are labelled
 */

/**
 * Create an image of one part of the photograph, placed in a frame that shows another part.
 * @param {Layer} layer
 * @param {Box} shown
 * @param {string} alternative
 */
function image({ source, part, full }, shown, alternative) {
  const picture = make("img", { alt: alternative, decoding: "async", draggable: "false" });
  if (source) picture.src = source;
  picture.style.left = `${((part[0] - shown[0]) / shown[2]) * 100}%`;
  picture.style.top = `${((part[1] - shown[1]) / shown[3]) * 100}%`;
  picture.style.width = `${(part[2] / shown[2]) * 100}%`;
  picture.style.height = `${(part[3] / shown[3]) * 100}%`;
  if (full) {
    // The thumbnail stays if the full picture is missing or its format is not supported.
    const large = new Image();
    large.decoding = "async";
    large.addEventListener("load", () => {
      picture.src = large.src;
    });
    large.src = full;
    if (!source) picture.src = full;
  }
  return picture;
}

/**
 * Create a frame with layers, and a slider if there are two pictures to compare.
 * @param {FrameOptions} options
 */
export function frame({ name, before, after = null, over = [], shown = WHOLE, tags = true }) {
  const holder = make(
    "div",
    { class: "frame" },
    make("div", { class: "layer before" }, image(before, shown, `${name}: the photograph`)),
    after && make("div", { class: "layer after" }, image(after, shown, `${name}: the edit`)),
    ...over.map((each) =>
      make("div", { class: `layer over ${each.kind}` }, image(each, shown, "")),
    ),
  );
  if (!after) return holder;
  const slider = make("input", {
    type: "range",
    min: 0,
    max: 100,
    step: 1,
    value: 50,
    "aria-label": `${name}: how much of the photograph is shown, the rest is the edit`,
  });
  const move = () => {
    holder.style.setProperty("--at", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value} % photograph`);
  };
  slider.addEventListener("input", move);
  move();
  holder.append(make("div", { class: "rule", "aria-hidden": "true" }), slider);
  if (tags)
    holder.append(
      make("span", { class: "tag left", "aria-hidden": "true", text: "before" }),
      make("span", { class: "tag right", "aria-hidden": "true", text: "after" }),
    );
  return holder;
}

/**
 * Overlays of an edit; kinds without a picture are left out.
 * @param {import("./data.js").Entry} entry
 * @param {import("./data.js").Pictures} small
 * @param {Set<OverlayKind>} kinds
 * @param {string | null | undefined} smoothing of the blend mask; any if it has no picture
 * @returns {Overlay[]}
 */
export function overlays({ edit }, small, kinds, smoothing) {
  const kernel = small.kernels[smoothing ?? ""] ?? Object.values(small.kernels)[0];
  /** @type {Overlay[]} */
  const all = [
    { kind: "mask", source: small.mask, part: WHOLE },
    { kind: "kernel", source: kernel, part: edit.box },
    { kind: "attention", source: small.attention, part: edit.box },
  ];
  return all.filter(({ kind, source }) => kinds.has(kind) && source);
}
