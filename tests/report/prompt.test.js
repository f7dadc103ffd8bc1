// What is marked in the prompts of the report (run by `npm test`).

import assert from "node:assert/strict";
import { test } from "node:test";
import { partsOf } from "../../editinfinity/results/report/prompt.js";

test("the words by which two prompts differ are marked in both", () => {
  const [before, after] = ["a red dog on a hill", "a dog and a cat on a hill"];
  assert.deepEqual(partsOf(before, "old", after), [
    ["a", "same"],
    ["red", "old"],
    ["dog on a hill", "same"],
  ]);
  assert.deepEqual(partsOf(after, "new", before), [
    ["a dog", "same"],
    ["and a cat", "new"],
    ["on a hill", "same"],
  ]);
});

test("nothing is marked without another prompt", () => {
  for (const side of /** @type {const} */ (["old", "new"]))
    assert.deepEqual(partsOf("a dog", side, ""), [["a dog", "same"]]);
});

test("prompts too long to compare stay as they are", () => {
  const [before, after] = [Array(300).fill("dog").join(" "), Array(300).fill("cat").join(" ")];
  assert.deepEqual(partsOf(before, "old", after), [[before, "same"]]);
  assert.deepEqual(partsOf(after, "new", before), [[after, "same"]]);
});
