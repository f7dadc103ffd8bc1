// The data of the report, as gather.py and page.py write it into the page.

import { byId } from "./dom.js";

/**
 * Part of a photograph, as fractions of its size.
 * @typedef {[left: number, top: number, width: number, height: number]} Box
 */
/** @typedef {Record<string, unknown>} Settings by name; some have settings of their own */
/** @typedef {"edited" | "mapped" | "failed" | "not made"} Outcome */
/** @typedef {"user" | "blend" | "attention" | "words" | "bits" | "both" | "none"} MaskSource */
/**
 * @typedef {object} Metric
 * @property {string} name
 * @property {string} label
 * @property {string} about
 * @property {boolean} higher whether higher is better
 * @property {string} unit
 * @property {number} digits decimals to show
 */
/**
 * The jobs of one kind.
 * @typedef {object} Stage
 * @property {string} name
 * @property {number} seconds
 * @property {number | null} memory peak use of RAM in bytes; null if not measured
 * @property {number | null} card peak use of GPU memory in bytes; null if not measured
 * @property {number} jobs
 */
/**
 * A picture of the model's size.
 * @typedef {object} Variant
 * @property {string} name
 * @property {string} label empty if it is the only one
 * @property {string} link
 * @property {Settings} settings
 * @property {Record<string, number | null>} metrics null where the value could not be computed
 * @property {Record<string, string>} missing why a metric has no value
 * @property {boolean} chosen
 * @property {string | null} smoothing of its blend mask
 * @property {Box} box
 */
/**
 * @typedef {object} Edit
 * @property {string} name
 * @property {string | null} prompt null if it cannot be read
 * @property {Outcome} outcome
 * @property {string} reason why there is no picture
 * @property {MaskSource} mask
 * @property {string | null} word
 * @property {string | null} link
 * @property {number | null} made in seconds since the epoch
 * @property {Box} box what the blend mask and the attention map cover
 * @property {string} why why the chosen variant was selected
 * @property {Settings} settings
 * @property {Stage[]} stages
 * @property {Variant[]} variants
 * @property {[label: string, link: string][]} files
 */
/** @typedef {{name: string, points: [iteration: number, loss: number][]}} Curve */
/**
 * @typedef {object} Case
 * @property {string} name
 * @property {string | null} source null if it cannot be read
 * @property {string} link
 * @property {[width: number, height: number] | null} size in pixels
 * @property {string[]} warnings
 * @property {Settings} settings
 * @property {Stage[]} stages
 * @property {Curve[]} curves
 * @property {Edit[]} edits
 */
/**
 * Small pictures of an edit, as data URIs.
 * @typedef {object} Pictures
 * @property {string} [source]
 * @property {string} [after]
 * @property {string} [mask]
 * @property {string} [attention]
 * @property {Record<string, string>} kernels by smoothing
 * @property {Record<string, string>} variants by name
 */
/** @typedef {{source?: string, edits: Partial<Pictures>[]}} CasePictures */
/**
 * @typedef {object} Report
 * @property {number} made in seconds since the epoch
 * @property {Settings} settings
 * @property {Metric[]} metrics
 * @property {Case[]} cases
 */

/** @type {Report} */
export const data = JSON.parse(byId("data", HTMLScriptElement).text);

/** @type {Box} */
export const WHOLE = [0, 0, 1, 1];

/** @type {Record<MaskSource, string>} */
export const MASKS = {
  user: "drawn by hand",
  blend: "a blend mask of your own",
  attention: "by a word",
  words: "by the words of both prompts",
  bits: "by the bits both prompts differ in",
  both: "by words and bits of both prompts",
  none: "none",
};

/** @type {Outcome[]} */
export const OUTCOMES = ["edited", "mapped", "failed", "not made"];

/** @typedef {ReturnType<typeof entryOf>} Entry an edit with what is shown of its photograph */

/** All edits, in the order of the run. */
export const entries = data.cases
  .flatMap((photo, caseIndex) => photo.edits.map((_, editIndex) => ({ caseIndex, editIndex })))
  .map(({ caseIndex, editIndex }, index) => entryOf(caseIndex, editIndex, index));

/**
 * @param {number} caseIndex
 * @param {number} editIndex
 * @param {number} index among all edits
 */
function entryOf(caseIndex, editIndex, index) {
  const photo = data.cases[caseIndex];
  const edit = photo.edits[editIndex];
  const { name, source, size } = photo;
  const shared = editIndex === 0 ? photo.stages : [];
  const searched = [name, edit.name, source, edit.prompt, edit.word, edit.reason];
  return {
    photo,
    edit,
    caseIndex,
    editIndex,
    index,
    chosen: edit.variants.find((variant) => variant.chosen) ?? edit.variants[0] ?? null,
    id: `${encodeURIComponent(name)}/${encodeURIComponent(edit.name)}`,
    seconds: [...shared, ...edit.stages].reduce((sum, stage) => sum + stage.seconds, 0),
    searchText: searched
      .map((text) => text ?? "")
      .join(" ")
      .toLowerCase(),
    ratio: size ? size[0] / size[1] : 4 / 3,
  };
}

/** @type {Map<number, CasePictures>} */
const picturesByCase = new Map();

/**
 * The small pictures of an edit; null until the browser has loaded that part of the page.
 * @param {Entry} entry
 * @returns {Pictures | null}
 */
export function picturesOf({ caseIndex, editIndex }) {
  let found = picturesByCase.get(caseIndex);
  if (!found) {
    const block = document.getElementById(`p${caseIndex}`);
    if (!block && document.readyState === "loading") return null;
    found = /** @type {CasePictures} */ (block ? JSON.parse(block.textContent) : { edits: [] });
    if (block) picturesByCase.set(caseIndex, found);
  }
  return { source: found.source, kernels: {}, variants: {}, ...found.edits[editIndex] };
}

/** @param {Metric} metric @param {number} value */
export function metricText(metric, value) {
  return `${value.toFixed(metric.digits)}${metric.unit ? `\u00a0${metric.unit}` : ""}`;
}
