// Tools that change the mask, by mouse, pen, fingers or the keyboard alone.

import { EDIT, KEEP } from "./mask.js";

/** @typedef {import("./mask.js").Mask} Mask */
/** @typedef {import("./mask.js").Point} Point */
/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {"brush" | "eraser" | "box" | "lasso" | "fill"} ToolName */

const ARROWS = /** @type {Record<string, Point>} */ ({
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
});
/** How far an arrow key moves the cursor, in CSS pixels; with Shift, and without. */
const FAR = 40;
const NEAR = 8;
const LARGEST_BRUSH = 0.5; // of the photograph's longer side
const MINIMUM_BRUSH = 1;

export class Painting {
  /**
   * @param {Stage} stage
   * @param {HTMLElement} ring shows the brush
   * @param {SVGPathElement} outline shows a box or a lasso while it is drawn
   */
  constructor(stage, ring, outline) {
    this.stage = stage;
    this.ring = ring;
    this.outline = outline;
    /** @type {ToolName} */
    this.tool = "brush";
    /** Diameter of the brush in pixels of the photograph. */
    this.size = 40;
    /** Called after a step is complete. @type {() => void} */
    this.onpaint = () => {};
    /** Called when tool or size have changed. @type {() => void} */
    this.onchange = () => {};
    /** Called with what a screen reader should say. @type {(text: string) => void} */
    this.tell = () => {};
    /** Points of the shape that is being drawn; empty if none is. @type {Point[]} */
    this.points = [];
    this.value = EDIT;
    /**
     * Where pointers that are down were last seen.
     * @type {Map<number, {clientX: number, clientY: number}>}
     */
    this.pointers = new Map();
    /** @type {"paint" | "pan" | "pinch" | null} */
    this.action = null;
    /** Where the keyboard's cursor is; null while the mouse is used. @type {Point | null} */
    this.cursor = null;
    this.spaceDown = false;
    this.#listen();
  }

  get largestBrush() {
    return Math.max(this.stage.width, this.stage.height) * LARGEST_BRUSH;
  }

  /** @param {ToolName} tool */
  choose(tool) {
    this.#cancel();
    this.tool = tool;
    this.#showRing();
    this.onchange();
  }

  /** @param {number} size in pixels of the photograph */
  resize(size) {
    this.size = Math.min(Math.max(size, MINIMUM_BRUSH), this.largestBrush);
    this.#showRing();
    this.onchange();
  }

  /** A step of the brush's size, larger or smaller. @param {number} direction */
  resizeBy(direction) {
    const step = Math.max(1, this.size * 0.15);
    this.resize(Math.round(this.size + direction * step));
  }

  #listen() {
    const { canvas } = this.stage;
    canvas.addEventListener("pointerdown", (event) => this.#pointerDown(event));
    canvas.addEventListener("pointermove", (event) => this.#pointerMove(event));
    canvas.addEventListener("pointerup", (event) => this.#pointerUp(event));
    canvas.addEventListener("pointercancel", (event) => this.#pointerUp(event, true));
    canvas.addEventListener("pointerleave", () => {
      if (!this.cursor && !this.action) this.ring.hidden = true;
    });
    canvas.addEventListener("keydown", (event) => this.#keyDown(event));
    canvas.addEventListener("keyup", (event) => this.#keyUp(event));
    canvas.addEventListener("focus", () => {
      // Reached by the keyboard: show where its cursor is.
      if (canvas.matches(":focus-visible") && !this.cursor) this.#moveCursor({ x: 0, y: 0 }, 0);
    });
    canvas.addEventListener("blur", () => {
      if (this.points.length && this.cursor) this.#up();
      this.#leaveKeyboard();
    });
    // Space and dragging move the photograph, also while the focus is on none of the controls.
    document.addEventListener("keydown", (event) => {
      if (event.key !== " " || this.cursor) return;
      if (event.target !== document.body && event.target !== canvas) return;
      this.#holdSpace(true);
      event.preventDefault();
    });
    document.addEventListener("keyup", (event) => {
      if (event.key === " ") this.#holdSpace(false);
    });
    addEventListener("blur", () => this.#holdSpace(false));
    this.stage.element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** @param {boolean} held */
  #holdSpace(held) {
    this.spaceDown = held;
    this.stage.element.classList.toggle("moves", held);
  }

  // Shapes: the same for all ways of pointing.

  /** @param {Point} point @param {boolean} reverse take away instead of adding */
  #down(point, reverse) {
    const { mask } = this.stage;
    if (!mask) return;
    this.value = (this.tool === "eraser") !== reverse ? KEEP : EDIT;
    mask.begin();
    this.points = [point];
    if (this.tool === "brush" || this.tool === "eraser") this.#stroke(point, point);
    if (this.tool === "fill") mask.flood(point, this.value);
  }

  /** @param {Point} point */
  #move(point) {
    const last = this.points.at(-1);
    if (!last) return;
    if (this.tool === "brush" || this.tool === "eraser") this.#stroke(last, point);
    if (this.tool === "box") this.points = [this.points[0], point];
    else this.points.push(point);
    this.showOutline();
  }

  #up() {
    const { mask } = this.stage;
    const { points } = this;
    this.points = [];
    this.showOutline();
    if (!mask || !points.length) return;
    if (this.tool === "box" && points.length > 1) mask.box(points[0], points[1], this.value);
    if (this.tool === "lasso") mask.polygon(points, this.value);
    mask.commit();
    this.onpaint();
  }

  #cancel() {
    if (this.points.length) this.stage.mask?.abort();
    this.points = [];
    this.action = null;
    this.showOutline();
  }

  /** @param {Point} a @param {Point} b */
  #stroke(a, b) {
    this.stage.mask?.stroke(a, b, this.size / 2, this.value);
  }

  /** Show the box or lasso that is being drawn. */
  showOutline() {
    let points = this.points;
    if (this.tool === "box" && points.length > 1) {
      const [a, b] = points;
      points = [a, { x: b.x, y: a.y }, b, { x: a.x, y: b.y }];
    }
    const drawn = (this.tool === "box" || this.tool === "lasso") && points.length > 1;
    const steps = points.map((point) => {
      const { x, y } = this.stage.toElement(point);
      return `${x.toFixed(1)} ${y.toFixed(1)}`;
    });
    this.outline.setAttribute("d", drawn ? `M${steps.join("L")}Z` : "");
  }

  // Mouse, pen and fingers.

  /** @param {PointerEvent} event */
  #pointerDown(event) {
    const { stage } = this;
    stage.canvas.setPointerCapture(event.pointerId);
    stage.canvas.focus({ preventScroll: true });
    this.#leaveKeyboard();
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 2) {
      this.#cancel(); // the first finger did not mean to paint
      this.action = "pinch";
    } else if (this.pointers.size > 2) return;
    else if (event.button === 1 || this.spaceDown) this.action = "pan";
    else if (event.button === 0) {
      this.action = "paint";
      this.#down(stage.toPhotograph(event), event.altKey);
    }
    event.preventDefault();
  }

  /** @param {PointerEvent} event */
  #pointerMove(event) {
    const { stage } = this;
    const before = this.pointers.get(event.pointerId);
    if (this.action === "paint" && before) {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const each of all.length ? all : [event]) this.#move(stage.toPhotograph(each));
    } else if (this.action === "pan" && before) {
      stage.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    } else if (this.action === "pinch" && before) {
      this.#pinch(event, before);
    }
    if (before) this.pointers.set(event.pointerId, event);
    if (!this.cursor && event.pointerType !== "touch") this.#showRing(stage.toPhotograph(event));
  }

  /** @param {PointerEvent} event @param {boolean} [interrupted] */
  #pointerUp(event, interrupted = false) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.action === "paint") {
      if (interrupted) this.#cancel();
      else this.#up();
    }
    if (this.action !== "pinch" || !this.pointers.size) this.action = null;
  }

  /**
   * Move and zoom by two fingers, of which one has moved.
   * @param {PointerEvent} event
   * @param {{clientX: number, clientY: number}} before
   */
  #pinch(event, before) {
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return;
    const apart = (/** @type {{clientX: number, clientY: number}} */ at) =>
      Math.hypot(at.clientX - other.clientX, at.clientY - other.clientY) || 1;
    const corner = this.stage.element.getBoundingClientRect();
    // The middle between the fingers moves half as far as the finger.
    this.stage.pan((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
    this.stage.zoom(apart(event) / apart(before), {
      x: (event.clientX + other.clientX) / 2 - corner.left,
      y: (event.clientY + other.clientY) / 2 - corner.top,
    });
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    const { stage } = this;
    const corner = stage.element.getBoundingClientRect();
    const point = { x: event.clientX - corner.left, y: event.clientY - corner.top };
    const sizes = this.tool === "brush" || this.tool === "eraser";
    if (event.ctrlKey || event.metaKey) stage.zoom(Math.exp(-event.deltaY / 300), point);
    else if (event.shiftKey || event.deltaX) stage.pan(-event.deltaX || -event.deltaY, 0);
    else if (sizes && !stage.canvas.hidden) this.resizeBy(-Math.sign(event.deltaY));
    else stage.pan(0, -event.deltaY);
  }

  // The keyboard: arrows move a cursor, Space is the button of the mouse, Enter holds it down.

  /** @param {KeyboardEvent} event */
  #keyDown(event) {
    if (event.ctrlKey || event.metaKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) this.#moveCursor(arrow, event.shiftKey ? FAR : NEAR);
    else if (event.key === " ") {
      if (this.cursor && !event.repeat && !this.points.length)
        this.#down(this.cursor, event.altKey);
    } else if (event.key === "Enter") {
      if (!this.cursor) this.#moveCursor({ x: 0, y: 0 }, 0);
      if (this.points.length) this.#keyboardUp();
      else if (this.cursor) {
        this.#down(this.cursor, event.altKey);
        this.tell("Painting has begun; Enter ends it.");
      }
    } else if (event.key === "Escape" && this.points.length) this.#cancel();
    else return;
    event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  #keyUp(event) {
    if (event.key === " " && this.cursor && this.points.length) this.#keyboardUp();
  }

  #keyboardUp() {
    this.#up();
    this.tell("Painted.");
  }

  /**
   * @param {Point} direction
   * @param {number} distance in CSS pixels
   */
  #moveCursor(direction, distance) {
    const { stage } = this;
    if (!stage.mask) return;
    const from = this.cursor ?? { x: stage.width / 2, y: stage.height / 2 };
    const step = distance / stage.scale;
    this.cursor = {
      x: Math.min(Math.max(from.x + direction.x * step, 0), stage.width - 1e-3),
      y: Math.min(Math.max(from.y + direction.y * step, 0), stage.height - 1e-3),
    };
    stage.element.classList.add("by-keys");
    if (this.points.length) this.#move(this.cursor);
    stage.reveal(this.cursor);
    this.#showRing(this.cursor);
    this.tell(`Column ${Math.floor(this.cursor.x)}, row ${Math.floor(this.cursor.y)}`);
  }

  #leaveKeyboard() {
    this.cursor = null;
    this.ring.hidden = true;
    this.stage.element.classList.remove("by-keys");
  }

  /** Show the brush at a point, or where it is. @param {Point | null} [at] */
  #showRing(at = this.cursor) {
    const brush = this.tool === "brush" || this.tool === "eraser";
    const { ring, stage } = this;
    if (at) this.at = at;
    if (!this.at) return;
    ring.hidden = !(at || !ring.hidden) || !(brush || this.cursor);
    const place = stage.toElement(this.at);
    const width = brush ? Math.max(this.size * stage.scale, 4) : 12;
    ring.style.setProperty("width", `${width}px`);
    ring.style.setProperty("height", `${width}px`);
    ring.style.setProperty(
      "transform",
      `translate(${place.x - width / 2}px, ${place.y - width / 2}px)`,
    );
  }

  /** The photograph has moved below the cursor. */
  moved() {
    this.#showRing();
    this.showOutline();
  }
}
