// The slider of the brush's size.

import { byId } from "./dom.js";

export class BrushSize {
  /** @param {import("./painting.js").Painting} painting */
  constructor(painting) {
    this.painting = painting;
    this.slider = byId("size", HTMLInputElement);
    this.text = byId("size-text", HTMLOutputElement);
    this.slider.addEventListener("input", () => {
      const share = Number(this.slider.value) / 100;
      painting.resize(Math.round(Math.exp(share * this.#range)));
    });
  }

  /** Even steps of the slider are even factors of the size. */
  get #range() {
    return Math.log(Math.max(this.painting.largestBrush, 2));
  }

  /** Take a size that suits the photograph's. */
  suit() {
    const { width, height } = this.painting.stage;
    this.painting.resize(Math.max(4, Math.round(Math.max(width, height) / 16)));
  }

  show() {
    const { painting, slider } = this;
    const brush = ["brush", "eraser"].includes(painting.tool);
    painting.stage.element.classList.toggle("brushing", brush);
    slider.disabled = !brush;
    if (document.activeElement !== slider)
      slider.value = String(Math.round((100 * Math.log(painting.size)) / this.#range));
    const text = `${Math.round(painting.size)} px`;
    slider.setAttribute("aria-valuetext", text);
    this.text.textContent = text;
  }
}
