// The photograph with its mask, the comparison with an edited picture, or that picture alone.

import { address } from "./api.js";
import { byId } from "./dom.js";

/** @typedef {import("./api.js").Try} Try */
/** @typedef {"paint" | "compare" | "result"} View */

export class Views {
  /**
   * @param {import("./stage.js").Stage} stage
   * @param {() => void} onchange called when another view is shown
   */
  constructor(stage, onchange) {
    this.stage = stage;
    this.onchange = onchange;
    /** @type {View} */
    this.current = "paint";
    /** Whether there is an edited picture to show. */
    this.hasResult = false;
    this.after = byId("after", HTMLImageElement);
    this.choice = byId("views", HTMLFieldSetElement);
    this.choice.addEventListener("change", (event) => {
      if (event.target instanceof HTMLInputElement)
        this.set(/** @type {View} */ (event.target.value));
    });
    const slider = byId("slider", HTMLInputElement);
    const move = () => {
      stage.frame.style.setProperty("--at", `${slider.value}%`);
      slider.setAttribute("aria-valuetext", `${slider.value} % photograph`);
    };
    slider.addEventListener("input", move);
    move();
  }

  /**
   * Compare the photograph with the picture of a try, if it has one.
   * @param {string} photograph
   * @param {Try | null} shown
   */
  showResult(photograph, shown) {
    this.hasResult = shown?.state === "done" || shown?.state === "saving";
    if (shown && this.hasResult) {
      this.#load(photograph, shown);
      this.after.alt = `The edited picture: ${shown.prompt}`;
    } else this.after.removeAttribute("src");
    this.set(this.current === "result" ? "result" : "compare");
  }

  /**
   * Where the view of a try is shown, show its picture once that is saved; nothing if it was not.
   * @param {string} photograph
   * @param {Try} shown
   */
  follow(photograph, shown) {
    const isView = this.after.getAttribute("src") === address.view(photograph, shown.n);
    if (!isView || shown.state === "saving") return;
    if (shown.state === "done") this.#load(photograph, shown);
    else this.showResult(photograph, shown);
  }

  /** @param {string} photograph @param {Try} shown */
  #load(photograph, shown) {
    const of = shown.state === "done" ? address.result : address.view;
    this.after.src = of(photograph, shown.n);
  }

  /** @param {View} view the mask is shown if there is no edited picture */
  set(view) {
    this.current = this.hasResult ? view : "paint";
    for (const input of this.choice.querySelectorAll("input")) {
      input.checked = input.value === this.current;
      input.disabled = input.value !== "paint" && !this.hasResult;
    }
    const { element, canvas, frame } = this.stage;
    const painting = this.current === "paint";
    element.classList.toggle("painting", painting);
    frame.classList.toggle("alone", this.current === "result");
    this.after.hidden = !this.hasResult;
    canvas.hidden = !painting;
    byId("brush-size", HTMLLabelElement).hidden = !painting;
    this.onchange();
  }
}
