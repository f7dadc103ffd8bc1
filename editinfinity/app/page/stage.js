// The photograph on the screen: zoom and position, and the mask drawn over it.

/** @typedef {import("./mask.js").Mask} Mask */
/** @typedef {import("./mask.js").Rect} Rect */
/** @typedef {import("./mask.js").Point} Point */

/** Space around a photograph that fits, in CSS pixels. */
const MARGIN = 20;
const LARGEST_SCALE = 16;
/** Colour of the mask: red, green, blue, and its opacity of 255. */
const TINT = [196, 0, 255, 118];
/** A pixel of the mask's outline: white, as a number of four bytes (alpha first). */
const OUTLINE = 0xf2ffffff;

/** Colour of each value of the mask, as the canvas stores it. */
const COLOURS = new Uint32Array(256).map(
  (_, value) =>
    ((Math.round((TINT[3] * value) / 255) << 24) | (TINT[2] << 16) | (TINT[1] << 8) | TINT[0]) >>>
    0,
);

export class Stage {
  /**
   * @param {HTMLElement} element what is left for the photograph
   * @param {HTMLElement} frame holds the pictures; moved and sized here
   * @param {HTMLCanvasElement} canvas covers the element
   */
  constructor(element, frame, canvas) {
    this.element = element;
    this.frame = frame;
    this.canvas = canvas;
    const context = canvas.getContext("2d");
    if (!context) throw new Error("this browser has no canvas to draw on");
    this.context = context;
    /** @type {Mask | null} */
    this.mask = null;
    this.width = 1;
    this.height = 1;
    /** CSS pixels for a pixel of the photograph. */
    this.scale = 1;
    /** Where the photograph's upper left corner is, in CSS pixels from the element's. */
    this.left = 0;
    this.top = 0;
    /** Whether the photograph follows the size of the window. */
    this.fits = true;
    this.shown = true;
    /** Called after the photograph has moved. @type {() => void} */
    this.onmove = () => {};
    new ResizeObserver(() => this.#resized()).observe(element);
  }

  /** @param {number} width @param {number} height of the photograph */
  setSize(width, height) {
    this.width = width;
    this.height = height;
    this.fit();
  }

  /** @param {Mask | null} mask */
  setMask(mask) {
    this.mask = mask;
    if (mask) mask.onchange = (rect) => this.draw(rect);
    this.drawAll();
  }

  /** @param {boolean} shown whether the mask is visible */
  showMask(shown) {
    this.shown = shown;
    this.drawAll();
  }

  get fittingScale() {
    const { clientWidth, clientHeight } = this.element;
    const scale = Math.min(
      (clientWidth - 2 * MARGIN) / this.width,
      (clientHeight - 2 * MARGIN) / this.height,
    );
    return Math.max(scale, 1e-3);
  }

  /** Show the whole photograph, as large as it can be. */
  fit() {
    this.fits = true;
    this.scale = this.fittingScale;
    this.left = (this.element.clientWidth - this.width * this.scale) / 2;
    this.top = (this.element.clientHeight - this.height * this.scale) / 2;
    this.#moved();
  }

  /**
   * Change the scale by a factor and keep a point of the element where it is.
   * @param {number} factor
   * @param {Point} [around] in CSS pixels from the element's corner; its middle if left out
   */
  zoom(factor, around = { x: this.element.clientWidth / 2, y: this.element.clientHeight / 2 }) {
    const smallest = Math.min(this.fittingScale, 1);
    const scale = Math.min(Math.max(this.scale * factor, smallest), LARGEST_SCALE);
    if (factor < 1 && scale <= this.fittingScale) {
      this.fit();
      return;
    }
    this.left = around.x - ((around.x - this.left) * scale) / this.scale;
    this.top = around.y - ((around.y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.fits = false;
    this.#moved();
  }

  /** @param {number} x @param {number} y in CSS pixels */
  pan(x, y) {
    this.left += x;
    this.top += y;
    this.fits = false;
    this.#moved();
  }

  /**
   * Move so that a point of the photograph is visible.
   * @param {Point} point
   */
  reveal(point) {
    const seen = this.toElement(point);
    const { clientWidth, clientHeight } = this.element;
    const inside = (/** @type {number} */ at, /** @type {number} */ size) =>
      at < MARGIN ? MARGIN - at : at > size - MARGIN ? size - MARGIN - at : 0;
    const x = inside(seen.x, clientWidth);
    const y = inside(seen.y, clientHeight);
    if (x || y) this.pan(x, y);
  }

  /**
   * The point of the photograph at a point of the window.
   * @param {{clientX: number, clientY: number}} event
   * @returns {Point}
   */
  toPhotograph(event) {
    const corner = this.element.getBoundingClientRect();
    return {
      x: (event.clientX - corner.left - this.left) / this.scale,
      y: (event.clientY - corner.top - this.top) / this.scale,
    };
  }

  /**
   * Where a point of the photograph is seen, in CSS pixels from the element's corner.
   * @param {Point} point
   * @returns {Point}
   */
  toElement(point) {
    return { x: point.x * this.scale + this.left, y: point.y * this.scale + this.top };
  }

  #resized() {
    if (this.fits) this.fit();
    else this.#moved();
  }

  #moved() {
    // Keep part of the photograph in sight.
    const { clientWidth, clientHeight } = this.element;
    const width = this.width * this.scale;
    const height = this.height * this.scale;
    this.left = Math.min(Math.max(this.left, MARGIN * 2 - width), clientWidth - MARGIN * 2);
    this.top = Math.min(Math.max(this.top, MARGIN * 2 - height), clientHeight - MARGIN * 2);
    const { style } = this.frame;
    style.setProperty("left", `${this.left}px`);
    style.setProperty("top", `${this.top}px`);
    style.setProperty("width", `${width}px`);
    style.setProperty("height", `${height}px`);
    this.frame.classList.toggle("magnified", this.scale * devicePixelRatio >= 2);
    this.drawAll();
    this.onmove();
  }

  /** Draw the mask wherever it is seen. */
  drawAll() {
    const ratio = devicePixelRatio;
    const width = Math.round(this.element.clientWidth * ratio);
    const height = Math.round(this.element.clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    } else this.context.clearRect(0, 0, width, height);
    if (this.mask) this.draw(this.mask.whole);
  }

  /**
   * Draw a part of the mask: as many pixels of the screen as are seen of it, however large it is.
   * @param {Rect} rect in pixels of the photograph
   */
  draw(rect) {
    const { mask, canvas, context } = this;
    if (!mask || !this.shown) return;
    const scale = this.scale * devicePixelRatio;
    const offsetX = this.left * devicePixelRatio;
    const offsetY = this.top * devicePixelRatio;
    // One pixel more on all sides, because of the outline.
    const left = Math.max(0, Math.floor(rect.left * scale + offsetX) - 1);
    const top = Math.max(0, Math.floor(rect.top * scale + offsetY) - 1);
    const right = Math.min(canvas.width, Math.ceil(rect.right * scale + offsetX) + 1);
    const bottom = Math.min(canvas.height, Math.ceil(rect.bottom * scale + offsetY) + 1);
    if (right <= left || bottom <= top) return;
    const width = right - left;
    const picture = context.createImageData(width, bottom - top);
    const colours = new Uint32Array(picture.data.buffer);
    // The mask's column for each column of the screen, from one further left; -1 is outside.
    const columns = new Int32Array(width + 1);
    for (let x = 0; x <= width; x += 1) {
      const column = Math.floor((left + x - 0.5 - offsetX) / scale);
      columns[x] = column >= 0 && column < mask.width ? column : -1;
    }
    let above = new Uint8Array(width + 1);
    let values = new Uint8Array(width + 1);
    for (let y = top - 1; y < bottom; y += 1) {
      const row = Math.floor((y + 0.5 - offsetY) / scale);
      if (row < 0 || row >= mask.height) values.fill(0);
      else {
        const start = row * mask.width;
        for (let x = 0; x <= width; x += 1)
          values[x] = columns[x] < 0 ? 0 : mask.pixels[start + columns[x]];
      }
      if (y >= top) {
        const line = (y - top) * width;
        for (let x = 0; x < width; x += 1) {
          const value = values[x + 1];
          const marked = value >= 128;
          colours[line + x] =
            marked !== values[x] >= 128 || marked !== above[x + 1] >= 128
              ? OUTLINE
              : COLOURS[value];
        }
      }
      [above, values] = [values, above];
    }
    context.putImageData(picture, left, top);
  }
}
