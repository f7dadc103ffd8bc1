// Shapes and history of the mask (run by `npm test`).

import assert from "node:assert/strict";
import { test } from "node:test";
import { EDIT, KEEP, Mask, union } from "../../editinfinity/app/page/mask.js";

/** The mask as rows of characters. @param {Mask} mask */
function rows(mask) {
  return Array.from({ length: mask.height }, (_, y) =>
    Array.from(mask.pixels.subarray(y * mask.width, (y + 1) * mask.width), (value) =>
      value ? "#" : ".",
    ).join(""),
  );
}

/** @param {Mask} mask */
const area = (mask) => mask.pixels.reduce((sum, value) => sum + (value >= 128 ? 1 : 0), 0);

test("a dot of the brush is the disc around its point", () => {
  const mask = new Mask(7, 7);
  mask.stroke({ x: 3.5, y: 3.5 }, { x: 3.5, y: 3.5 }, 2, EDIT);
  assert.deepEqual(rows(mask), [
    ".......",
    "...#...",
    "..###..",
    ".#####.",
    "..###..",
    "...#...",
    ".......",
  ]);
});

test("a stroke covers every pixel that is near its line, and no other", () => {
  for (const [a, b] of [
    [
      { x: 10, y: 12 },
      { x: 45, y: 31 },
    ],
    [
      { x: 40, y: 9.5 },
      { x: 12, y: 9.5 },
    ],
    [
      { x: 20.25, y: 40 },
      { x: 20.25, y: 5 },
    ],
    [
      { x: 50, y: 8 },
      { x: 8, y: 40 },
    ],
  ]) {
    const mask = new Mask(60, 50);
    const radius = 6.3;
    mask.stroke(a, b, radius, EDIT);
    for (let y = 0; y < 50; y += 1)
      for (let x = 0; x < 60; x += 1) {
        const along = { x: b.x - a.x, y: b.y - a.y };
        const share =
          ((x + 0.5 - a.x) * along.x + (y + 0.5 - a.y) * along.y) / (along.x ** 2 + along.y ** 2);
        const t = Math.min(Math.max(share, 0), 1);
        const apart = Math.hypot(x + 0.5 - a.x - t * along.x, y + 0.5 - a.y - t * along.y);
        const marked = mask.pixels[y * 60 + x] === EDIT;
        if (Math.abs(apart - radius) > 1e-6) assert.equal(marked, apart < radius, `${x} ${y}`);
      }
  }
});

test("a stroke beyond the edge marks what is inside", () => {
  const mask = new Mask(6, 4);
  mask.stroke({ x: -3, y: 2 }, { x: 20, y: 2 }, 1, EDIT);
  assert.deepEqual(rows(mask), ["......", "######", "######", "......"]);
});

test("a box and the eraser", () => {
  const mask = new Mask(6, 4);
  mask.box({ x: 5.2, y: 3.1 }, { x: 1.4, y: 0.6 }, EDIT);
  assert.deepEqual(rows(mask), ["......", ".####.", ".####.", "......"]);
  mask.stroke({ x: 1.5, y: 1.5 }, { x: 1.5, y: 1.5 }, 0.75, KEEP);
  assert.deepEqual(rows(mask), ["......", "..###.", ".####.", "......"]);
});

test("a lasso fills its inside", () => {
  const mask = new Mask(8, 6);
  mask.polygon(
    [
      { x: 1, y: 1 },
      { x: 7, y: 1 },
      { x: 7, y: 5 },
      { x: 1, y: 5 },
    ],
    EDIT,
  );
  assert.equal(area(mask), 24);
  mask.polygon(
    [
      { x: 0, y: 0 },
      { x: 8, y: 0 },
      { x: 0, y: 6 },
    ],
    KEEP,
  );
  assert.equal(mask.pixels[1 * 8 + 1], KEEP);
  assert.equal(mask.pixels[4 * 8 + 6], EDIT);
});

test("filling an outline fills its inside, and not what is around it", () => {
  const mask = new Mask(9, 9);
  mask.box({ x: 2, y: 2 }, { x: 7, y: 7 }, EDIT);
  mask.box({ x: 3, y: 3 }, { x: 6, y: 6 }, KEEP);
  mask.flood({ x: 4.5, y: 4.5 }, EDIT);
  assert.equal(area(mask), 25);
  mask.flood({ x: 0.5, y: 0.5 }, EDIT);
  assert.equal(area(mask), 81);
  mask.flood({ x: 100, y: 0 }, EDIT);
});

test("grow and shrink move the border by their distance", () => {
  const mask = new Mask(41, 41);
  mask.stroke({ x: 20.5, y: 20.5 }, { x: 20.5, y: 20.5 }, 8, EDIT);
  const before = area(mask);
  mask.grow(3);
  assert.equal(mask.pixels[20 * 41 + 20 + 10], EDIT);
  assert.equal(mask.pixels[20 * 41 + 20 + 12], KEEP);
  assert.ok(Math.abs(area(mask) / (Math.PI * 121) - 1) < 0.08);
  mask.grow(-3);
  assert.ok(Math.abs(area(mask) - before) < 0.1 * before);
});

test("invert twice is nothing, and clear leaves nothing", () => {
  const mask = new Mask(5, 5);
  mask.box({ x: 1, y: 1 }, { x: 3, y: 3 }, EDIT);
  mask.invert();
  assert.equal(area(mask), 21);
  mask.invert();
  assert.equal(area(mask), 4);
  assert.equal(mask.isEmpty, false);
  mask.clear();
  assert.equal(mask.isEmpty, true);
});

test("every step can be undone and done again, and tells what has changed", () => {
  const mask = new Mask(20, 20);
  let told = { left: 0, top: 0, right: 0, bottom: 0 };
  mask.onchange = (rect) => {
    told = union(told, rect);
  };
  const states = [mask.pixels.slice()];
  for (const change of [
    () => mask.stroke({ x: 3, y: 3 }, { x: 10, y: 12 }, 3, EDIT),
    () => mask.box({ x: 8, y: 2 }, { x: 12, y: 18 }, KEEP),
    () => mask.invert(),
    () => mask.grow(2),
    () => assert.equal(mask.take(new Uint8Array(400).fill(200)), true),
  ]) {
    mask.step(change);
    states.push(mask.pixels.slice());
  }
  assert.equal(mask.take(mask.pixels.slice()), false, "the same pixels are no step");
  for (let at = states.length - 2; at >= 0; at -= 1) {
    assert.ok(mask.undo());
    assert.deepEqual(mask.pixels, states[at]);
  }
  assert.equal(mask.undo(), false);
  assert.equal(mask.isEmpty, true);
  told = { left: 0, top: 0, right: 0, bottom: 0 };
  mask.redo();
  assert.deepEqual(mask.pixels, states[1]);
  assert.ok(told.right < 20, "only what has changed is drawn again");
  mask.step(() => mask.clear());
  assert.equal(mask.redo(), false, "after a new step there is nothing to do again");
});

test("a stroke that is given up leaves nothing", () => {
  const mask = new Mask(10, 10);
  mask.begin();
  mask.stroke({ x: 5, y: 5 }, { x: 7, y: 5 }, 2, EDIT);
  mask.abort();
  assert.equal(mask.isEmpty, true);
  assert.equal(mask.undo(), false);
});
