// The list of photographs, and the run of the workflow over all of them.

import { address, api } from "./api.js";
import { byId, make } from "./dom.js";

/** @typedef {import("./api.js").Photograph} Photograph */
/** @typedef {import("./api.js").Run} Run */

export class Photographs {
  /**
   * @param {(id: string) => void} onopen called with the photograph that the person chooses
   * @param {(action: () => Promise<unknown>) => Promise<boolean>} attempt shows its fault
   * @param {() => Promise<void>} saved waits until everything is saved, and fails if it cannot be
   */
  constructor(onopen, attempt, saved) {
    this.onopen = onopen;
    this.dialog = byId("photographs", HTMLDialogElement);
    /** @type {Photograph[]} */
    this.all = [];
    /** @type {string | null} */
    this.current = null;
    /** @type {Map<string, HTMLImageElement>} */
    this.thumbnails = new Map();
    /** @type {Run} */
    this.run = { state: "idle" };
    byId("show-all", HTMLButtonElement).addEventListener("click", () => this.show());
    byId("photographs-close", HTMLButtonElement).addEventListener("click", () =>
      this.dialog.close(),
    );
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    byId("run", HTMLButtonElement).addEventListener("click", async () => {
      const started = await attempt(async () => {
        await saved();
        await api.run();
      });
      if (!started) this.dialog.close(); // the reason is shown on the page behind it
    });
    byId("run-cancel", HTMLButtonElement).addEventListener("click", () => attempt(api.cancelRun));
  }

  /** @param {string | null} id @returns {Photograph | undefined} */
  get(id) {
    return this.all.find((each) => each.id === id);
  }

  /** The photograph some places further; the last is followed by the first. @param {number} by */
  neighbour(by) {
    const at = this.all.findIndex((each) => each.id === this.current);
    return this.all[(at + by + this.all.length) % this.all.length];
  }

  /** @param {Photograph} photograph changed, or new */
  put(photograph) {
    const at = this.all.findIndex((each) => each.id === photograph.id);
    if (at < 0) this.all.push(photograph);
    else this.all[at] = photograph;
    this.draw();
  }

  show() {
    this.dialog.showModal();
    this.draw();
    this.dialog.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  draw() {
    const at = this.all.findIndex((each) => each.id === this.current);
    const many = this.all.length > 1;
    byId("previous", HTMLButtonElement).hidden = !many;
    byId("next", HTMLButtonElement).hidden = !many;
    byId("show-all", HTMLButtonElement).hidden = !this.all.length;
    byId("position", HTMLParagraphElement).textContent =
      many && at >= 0 ? `${at + 1} of ${this.all.length}` : "";
    if (!this.dialog.open) return;
    const failed = new Map((this.run.failed ?? []).map(({ id, line }) => [id, line]));
    byId("list", HTMLUListElement).replaceChildren(
      ...this.all.map((each) => this.#item(each, failed.get(each.id))),
    );
    this.#drawRun();
  }

  /** @param {Photograph} each @param {string | undefined} line why its edit failed */
  #item(each, line) {
    const fault = each.error ?? line;
    const facts = [
      each.prompt ? `“${each.prompt}”` : "no prompt yet",
      each.mask ? "mask" : "",
      each.learned ? "learned" : "",
      each.tries ? `${each.tries} ${each.tries === 1 ? "try" : "tries"}` : "",
    ];
    const button = make(
      "button",
      { type: "button", "aria-current": each.id === this.current ? "true" : null },
      this.#thumbnail(each),
      make("b", { dir: "auto", text: each.name }),
      make("small", {
        class: fault ? "bad" : "",
        dir: "auto",
        text: fault ?? facts.filter(Boolean).join(" · "),
      }),
    );
    button.addEventListener("click", () => this.#open(each.id));
    return make("li", {}, button);
  }

  /** Made once for each photograph, so that it is loaded once. @param {Photograph} each */
  #thumbnail({ id, error }) {
    const picture =
      this.thumbnails.get(id) ??
      make("img", {
        alt: "",
        loading: "lazy",
        decoding: "async",
        onerror: (event) => event.target.removeAttribute("src"), // not the browser's broken picture
      });
    if (!error && !this.thumbnails.has(id)) picture.src = address.photograph(id, 256);
    this.thumbnails.set(id, picture);
    return picture;
  }

  /** @param {string} id */
  #open(id) {
    this.dialog.close();
    this.onopen(id);
  }

  #drawRun() {
    const { run } = this;
    const ready = this.all.filter((each) => each.prompt && !each.error).length;
    const running = run.state === "running";
    const done = run.done ?? 0;
    const of = run.of ?? 0;
    const steps = of ? `${done} of ${of} steps` : "";
    byId("run-line", HTMLParagraphElement).textContent =
      run.state === "idle"
        ? `${ready} of ${this.all.length} have a prompt and can be run.`
        : [running ? "Running" : "", running ? steps : "", run.line].filter(Boolean).join(" · ");
    const bar = byId("run-bar", HTMLProgressElement);
    bar.hidden = !running;
    if (of) bar.value = done / of;
    else bar.removeAttribute("value");
    const start = byId("run", HTMLButtonElement);
    start.hidden = running;
    start.disabled = !ready;
    byId("run-cancel", HTMLButtonElement).hidden = !running;
    byId("report", HTMLAnchorElement).hidden = !run.report;
    byId("run-failed", HTMLUListElement).replaceChildren(
      ...(run.failed ?? []).map(({ id, line }) =>
        make(
          "li",
          { class: "reason", dir: "auto" },
          `${line} `,
          this.get(id)
            ? make("button", {
                type: "button",
                class: "link",
                text: "Show the photograph",
                onclick: () => this.#open(id),
              })
            : null,
        ),
      ),
    );
  }
}
