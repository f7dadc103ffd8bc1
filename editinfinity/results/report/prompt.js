// Prompts, with what differs between them marked.

import { make } from "./dom.js";

/** @typedef {"same" | "old" | "new"} Kind */
/** @typedef {[words: string, kind: Kind]} Part */

/** Prompts whose words make more pairs than this are not compared. */
const MAX_PAIRS = 40000;

/**
 * Compare two lists of words: what both have in the same order is the same, as much as can be.
 * @param {string[]} old
 * @param {string[]} fresh
 * @returns {Part[]} parts in order
 */
function compare(old, fresh) {
  // Length of the longest common subsequence of what follows word i and word j.
  const lengths = Array.from({ length: old.length + 1 }, () => new Uint16Array(fresh.length + 1));
  for (let i = old.length - 1; i >= 0; i -= 1)
    for (let j = fresh.length - 1; j >= 0; j -= 1)
      lengths[i][j] =
        old[i] === fresh[j]
          ? lengths[i + 1][j + 1] + 1
          : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
  /** @type {Part[]} */
  const parts = [];
  let i = 0;
  let j = 0;
  while (i < old.length || j < fresh.length) {
    if (i < old.length && j < fresh.length && old[i] === fresh[j]) {
      parts.push([old[i], "same"]);
      i += 1;
      j += 1;
    } else if (i < old.length && (j === fresh.length || lengths[i + 1][j] >= lengths[i][j + 1])) {
      parts.push([old[i], "old"]);
      i += 1;
    } else {
      parts.push([fresh[j], "new"]);
      j += 1;
    }
  }
  return parts;
}

/**
 * A prompt in parts, of which those of kind `side` differ from the other prompt.
 * @param {string} text
 * @param {"old" | "new"} side whether it is the photograph's prompt or that of the edit
 * @param {string} other empty if there is none
 * @returns {Part[]}
 */
export function partsOf(text, side, other) {
  const [words, others] = [text.split(" "), other.split(" ")];
  if (!other || words.length * others.length > MAX_PAIRS) return [[text, "same"]];
  const all = side === "old" ? compare(words, others) : compare(others, words);
  /** @type {Part[]} */
  const joined = [];
  for (const [word, kind] of all) {
    if (kind !== "same" && kind !== side) continue;
    const last = joined.at(-1);
    if (last?.[1] === kind) last[0] += ` ${word}`;
    else joined.push([word, kind]);
  }
  return joined;
}

/**
 * Create a paragraph with a prompt, and mark the words by which it differs from another one.
 * @param {string | null} text null if the prompt cannot be read
 * @param {"old" | "new"} side whether it is the photograph's prompt or that of the edit
 * @param {string | null} other
 */
export function prompt(text, side, other) {
  if (!text) {
    const line = text === null ? "the prompt cannot be read" : "no prompt";
    return make("p", { class: "prompt muted", dir: "auto", text: line });
  }
  const paragraph = make("p", { class: "prompt", dir: "auto" });
  for (const [words, kind] of partsOf(text, side, other ?? "")) {
    if (paragraph.childNodes.length) paragraph.append(" ");
    const tag = kind === "new" ? "mark" : "s";
    paragraph.append(kind === "same" ? words : make(tag, { text: words }));
  }
  return paragraph;
}
