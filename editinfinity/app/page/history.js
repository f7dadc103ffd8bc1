// Steps of a mask to undo and redo: each holds the bytes of the rectangle that it changed.

/** @typedef {import("./mask.js").Rect} Rect */
/** @typedef {{rect: Rect, bytes: Uint8Array}} Step bytes of `rect` on its other side */

/** The oldest steps are forgotten beyond this many bytes. */
const MAX_BYTES = 100e6;

export class History {
  /** @param {Uint8Array} pixels changed by undo and redo @param {number} width of a row of them */
  constructor(pixels, width) {
    this.pixels = pixels;
    this.width = width;
    /** @type {Step[]} */
    this.past = [];
    /** @type {Step[]} */
    this.future = [];
    /** The pixels before the step that has begun. @type {Uint8Array | null} */
    this.before = null;
  }

  begin() {
    this.before = this.pixels.slice();
  }

  /**
   * End the step that has begun, if any.
   * @param {Rect | null} rect outside which nothing has changed; null if nothing has
   */
  commit(rect) {
    const { before } = this;
    this.before = null;
    if (!before || !rect) return;
    this.past.push({ rect, bytes: this.#read(before, rect) });
    this.future = [];
    let bytes = 0;
    for (let step = this.past.length - 1; step >= 0; step -= 1) {
      bytes += this.past[step].bytes.length;
      if (bytes > MAX_BYTES && step < this.past.length - 1) {
        this.past.splice(0, step + 1);
        break;
      }
    }
  }

  /**
   * Give the pixels back as they were when the step began.
   * @param {Rect | null} rect outside which nothing has changed; null if nothing has
   * @returns {Rect | null} what has changed; null if nothing had to
   */
  abort(rect) {
    const { before } = this;
    this.before = null;
    if (!before || !rect) return null;
    this.#write({ rect, bytes: this.#read(before, rect) });
    return rect;
  }

  /** @returns {Rect | null} what has changed; null if there was no step to undo */
  undo() {
    return this.#exchange(this.past, this.future);
  }

  /** @returns {Rect | null} what has changed; null if there was no step to redo */
  redo() {
    return this.#exchange(this.future, this.past);
  }

  /** @param {Step[]} from @param {Step[]} to */
  #exchange(from, to) {
    const step = from.pop();
    if (!step) return null;
    to.push({ rect: step.rect, bytes: this.#read(this.pixels, step.rect) });
    this.#write(step);
    return step.rect;
  }

  /** @param {Uint8Array} pixels @param {Rect} rect */
  #read(pixels, { left, top, right, bottom }) {
    const row = right - left;
    const bytes = new Uint8Array(row * (bottom - top));
    for (let y = top; y < bottom; y += 1)
      bytes.set(pixels.subarray(y * this.width + left, y * this.width + right), (y - top) * row);
    return bytes;
  }

  /** @param {Step} step */
  #write({ rect: { left, top, right, bottom }, bytes }) {
    const row = right - left;
    for (let y = top; y < bottom; y += 1)
      this.pixels.set(bytes.subarray((y - top) * row, (y - top + 1) * row), y * this.width + left);
  }
}
