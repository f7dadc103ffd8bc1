// The mask: one byte for each pixel of the photograph, and shapes that change it.

import { History } from "./history.js";

/** @typedef {{left: number, top: number, right: number, bottom: number}} Rect half-open pixels */
/** @typedef {{x: number, y: number}} Point in pixels; (0, 0) is the upper left corner */

/** Value of a pixel that the edit may change. */
export const EDIT = 255;
/** Value of a pixel that stays as it is. */
export const KEEP = 0;

/** Pixels from this value on count as marked, as in the files of masks. */
const THRESHOLD = 128;

/** @type {Rect} */
const NOTHING = { left: 0, top: 0, right: 0, bottom: 0 };

/** @param {Rect} rect */
const isEmpty = (rect) => rect.right <= rect.left || rect.bottom <= rect.top;

/**
 * The smallest rectangle that contains both.
 * @param {Rect} a
 * @param {Rect} b
 * @returns {Rect}
 */
export function union(a, b) {
  if (isEmpty(a)) return b;
  if (isEmpty(b)) return a;
  return {
    left: Math.min(a.left, b.left),
    top: Math.min(a.top, b.top),
    right: Math.max(a.right, b.right),
    bottom: Math.max(a.bottom, b.bottom),
  };
}

export class Mask {
  /**
   * An empty mask.
   * @param {number} width
   * @param {number} height
   */
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.pixels = new Uint8Array(width * height);
    /** Called with the rectangle that has changed. @type {(rect: Rect) => void} */
    this.onchange = () => {};
    this.history = new History(this.pixels, width);
    /** What the step that has begun has changed. */
    this.dirty = NOTHING;
    /** @type {boolean | null} */
    this.empty = null;
  }

  /** @returns {Rect} */
  get whole() {
    return { left: 0, top: 0, right: this.width, bottom: this.height };
  }

  /** Whether nothing is marked; looked up once after each change. */
  get isEmpty() {
    this.empty ??= this.#isEmpty();
    return this.empty;
  }

  #isEmpty() {
    // By words of four bytes.
    const words = new Uint32Array(this.pixels.buffer, 0, this.pixels.length >> 2);
    for (let at = 0; at < words.length; at += 1) if (words[at]) return false;
    return this.pixels.subarray(words.length * 4).every((value) => value === 0);
  }

  /** Begin a step of the history, such as a stroke. */
  begin() {
    this.commit();
    this.history.begin();
    this.dirty = NOTHING;
  }

  /** End the step that has begun, if any; it can be undone as a whole. */
  commit() {
    this.history.commit(isEmpty(this.dirty) ? null : this.dirty);
    this.dirty = NOTHING;
  }

  /** Take back the step that has begun, as if it had never been. */
  abort() {
    this.#exchanged(this.history.abort(isEmpty(this.dirty) ? null : this.dirty));
    this.dirty = NOTHING;
  }

  /** @returns {boolean} whether there was a step to undo */
  undo() {
    this.commit();
    return this.#exchanged(this.history.undo());
  }

  /** @returns {boolean} whether there was a step to redo */
  redo() {
    this.commit();
    return this.#exchanged(this.history.redo());
  }

  /** @param {Rect | null} rect whose pixels the history has exchanged */
  #exchanged(rect) {
    if (!rect) return false;
    this.empty = null;
    this.onchange(rect);
    return true;
  }

  /** @param {Rect} rect */
  #changed(rect) {
    if (isEmpty(rect)) return;
    this.dirty = union(this.dirty, rect);
    this.empty = null;
    this.onchange(rect);
  }

  /**
   * Give the pixels of a row whose centres lie between two positions a value.
   * @param {number} y
   * @param {number} from
   * @param {number} to
   * @param {number} value
   */
  #fillRow(y, from, to, value) {
    const left = Math.max(0, Math.ceil(from - 0.5));
    const right = Math.min(this.width, Math.floor(to - 0.5) + 1);
    if (right > left) this.pixels.fill(value, y * this.width + left, y * this.width + right);
  }

  /**
   * Draw the track of a round brush from a to b.
   * @param {Point} a
   * @param {Point} b
   * @param {number} radius in pixels; at least the pixel under the brush is drawn
   * @param {number} value
   */
  stroke(a, b, radius, value) {
    const r = Math.max(radius, 0.75);
    const rect = this.#clip({
      left: Math.floor(Math.min(a.x, b.x) - r),
      top: Math.floor(Math.min(a.y, b.y) - r),
      right: Math.ceil(Math.max(a.x, b.x) + r) + 1,
      bottom: Math.ceil(Math.max(a.y, b.y) + r) + 1,
    });
    const length = Math.hypot(b.x - a.x, b.y - a.y);
    // The two sides of the track, from circle to circle.
    const across = length
      ? { x: (-(b.y - a.y) / length) * r, y: ((b.x - a.x) / length) * r }
      : null;
    for (let y = rect.top; y < rect.bottom; y += 1) {
      const middle = y + 0.5;
      let from = Infinity;
      let to = -Infinity;
      for (const centre of [a, b]) {
        const half = Math.sqrt(r * r - (middle - centre.y) ** 2);
        if (half >= 0) {
          from = Math.min(from, centre.x - half);
          to = Math.max(to, centre.x + half);
        }
      }
      if (across && a.y !== b.y)
        for (const side of [1, -1]) {
          const top = a.y + side * across.y;
          const share = (middle - top) / (b.y - a.y);
          if (share >= 0 && share <= 1) {
            const x = a.x + side * across.x + share * (b.x - a.x);
            from = Math.min(from, x);
            to = Math.max(to, x);
          }
        }
      if (across && a.y === b.y && Math.abs(middle - a.y) <= r) {
        from = Math.min(from, a.x, b.x);
        to = Math.max(to, a.x, b.x);
      }
      this.#fillRow(y, from, to, value);
    }
    this.#changed(rect);
  }

  /**
   * Fill a polygon; where it crosses itself, what it goes around twice stays out.
   * @param {Point[]} points
   * @param {number} value
   */
  polygon(points, value) {
    if (points.length < 3) return;
    const xs = points.map((point) => point.x);
    const ys = points.map((point) => point.y);
    const rect = this.#clip({
      left: Math.floor(Math.min(...xs)),
      top: Math.floor(Math.min(...ys)),
      right: Math.ceil(Math.max(...xs)),
      bottom: Math.ceil(Math.max(...ys)),
    });
    for (let y = rect.top; y < rect.bottom; y += 1) {
      const middle = y + 0.5;
      const crossings = [];
      for (let i = 0; i < points.length; i += 1) {
        const a = points[i];
        const b = points[(i + 1) % points.length];
        if (a.y <= middle === b.y <= middle) continue;
        crossings.push(a.x + ((middle - a.y) / (b.y - a.y)) * (b.x - a.x));
      }
      crossings.sort((p, q) => p - q);
      for (let i = 0; i + 1 < crossings.length; i += 2)
        this.#fillRow(y, crossings[i], crossings[i + 1], value);
    }
    this.#changed(rect);
  }

  /**
   * Fill a rectangle between two corners.
   * @param {Point} a
   * @param {Point} b
   * @param {number} value
   */
  box(a, b, value) {
    const left = Math.round(Math.min(a.x, b.x));
    const right = Math.round(Math.max(a.x, b.x));
    const rect = this.#clip({
      left,
      top: Math.round(Math.min(a.y, b.y)),
      right,
      bottom: Math.round(Math.max(a.y, b.y)),
    });
    for (let y = rect.top; y < rect.bottom; y += 1) this.#fillRow(y, left, right, value);
    this.#changed(rect);
  }

  /**
   * Fill what is connected with a point: the inside of an outline, or what is around it.
   * @param {Point} point
   * @param {number} value
   */
  flood(point, value) {
    const { width, height, pixels } = this;
    const x0 = Math.floor(point.x);
    const y0 = Math.floor(point.y);
    if (x0 < 0 || y0 < 0 || x0 >= width || y0 >= height) return;
    const inside = value >= THRESHOLD;
    // A pixel is to be filled if it is on the other side of the threshold.
    const open = (/** @type {number} */ at) => pixels[at] >= THRESHOLD !== inside;
    if (!open(y0 * width + x0)) return;
    let rect = NOTHING;
    const seeds = [y0 * width + x0];
    while (seeds.length) {
      const seed = /** @type {number} */ (seeds.pop());
      if (!open(seed)) continue;
      const start = seed - (seed % width);
      let left = seed;
      let right = seed + 1;
      while (left > start && open(left - 1)) left -= 1;
      while (right < start + width && open(right)) right += 1;
      pixels.fill(value, left, right);
      const y = start / width;
      rect = union(rect, { left: left - start, top: y, right: right - start, bottom: y + 1 });
      for (const next of [start - width, start + width]) {
        if (next < 0 || next >= pixels.length) continue;
        let before = false;
        for (let at = next + left - start; at < next + right - start; at += 1) {
          const now = open(at);
          if (now && !before) seeds.push(at);
          before = now;
        }
      }
    }
    this.#changed(rect);
  }

  /**
   * Move the border of the mask outwards, or inwards for a negative distance.
   * @param {number} distance in pixels
   */
  grow(distance) {
    const { width, height, pixels } = this;
    const value = distance > 0 ? EDIT : KEEP;
    const inside = pixels.map((each) => Number(each >= THRESHOLD === distance > 0));
    const r = Math.abs(distance);
    const reach = Array.from({ length: 2 * Math.floor(r) + 1 }, (_, row) =>
      Math.sqrt(r * r - (row - Math.floor(r)) ** 2),
    );
    let rect = NOTHING;
    for (let y = 0; y < height; y += 1)
      for (let x = 0; x < width; x += 1) {
        const at = y * width + x;
        // A disc around each pixel of the border covers all that is near the rest.
        const border =
          inside[at] &&
          ((x > 0 && !inside[at - 1]) ||
            (x < width - 1 && !inside[at + 1]) ||
            (y > 0 && !inside[at - width]) ||
            (y < height - 1 && !inside[at + width]));
        if (!border) continue;
        for (let row = 0; row < reach.length; row += 1) {
          const to = y + row - Math.floor(r);
          if (to >= 0 && to < height)
            this.#fillRow(to, x + 0.5 - reach[row], x + 0.5 + reach[row], value);
        }
        rect = union(rect, { left: x, top: y, right: x + 1, bottom: y + 1 });
      }
    if (isEmpty(rect)) return;
    const margin = Math.ceil(r);
    this.#changed(
      this.#clip({
        left: rect.left - margin,
        top: rect.top - margin,
        right: rect.right + margin,
        bottom: rect.bottom + margin,
      }),
    );
  }

  /** Exchange what may change and what stays. */
  invert() {
    const { pixels } = this;
    for (let at = 0; at < pixels.length; at += 1) pixels[at] = 255 - pixels[at];
    this.#changed(this.whole);
  }

  clear() {
    this.pixels.fill(KEEP);
    this.#changed(this.whole);
  }

  /**
   * Take other pixels, of the same size, in one step of the history.
   * @param {Uint8Array} pixels
   * @returns {boolean} whether they differ from those before
   */
  take(pixels) {
    if (this.pixels.every((value, at) => value === pixels[at])) return false;
    this.step(() => {
      this.pixels.set(pixels);
      this.#changed(this.whole);
    });
    return true;
  }

  /**
   * One step of the history.
   * @param {() => void} change
   */
  step(change) {
    this.begin();
    change();
    this.commit();
  }

  /**
   * @param {Rect} rect
   * @returns {Rect}
   */
  #clip(rect) {
    return {
      left: Math.max(0, rect.left),
      top: Math.max(0, rect.top),
      right: Math.min(this.width, rect.right),
      bottom: Math.min(this.height, rect.bottom),
    };
  }
}
