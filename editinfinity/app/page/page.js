// Starts the page and connects its parts.

import { address, api, Fault, follow } from "./api.js";
import { BrushSize } from "./brush_size.js";
import { listenToChosenTry } from "./chosen_try.js";
import { Commands } from "./commands.js";
import { delayed } from "./delayed.js";
import { byId } from "./dom.js";
import { commandsOf } from "./editor_commands.js";
import { Fields } from "./fields.js";
import { Finding } from "./finding.js";
import { Masks } from "./masks.js";
import { listenForFiles } from "./opening.js";
import { Painting } from "./painting.js";
import { Photographs } from "./photographs.js";
import { decodeGrey } from "./png.js";
import { showModel, showProgress, showWaiting } from "./progress.js";
import { Stage } from "./stage.js";
import { Tries } from "./tries.js";
import { Unsaved } from "./unsaved.js";
import { Views } from "./views.js";

/** @typedef {import("./api.js").Photograph} Photograph */
/** @typedef {import("./api.js").Progress} Progress */
/** @typedef {import("./api.js").State} State */
/** @typedef {import("./api.js").Try} Try */

const SAVE_FIELDS_AFTER = 500; // milliseconds
const SAVE_MASK_AFTER = 250;

export class Editor {
  constructor() {
    this.stage = new Stage(
      byId("stage", HTMLDivElement),
      byId("frame", HTMLDivElement),
      byId("canvas", HTMLCanvasElement),
    );
    this.painting = new Painting(
      this.stage,
      byId("ring", HTMLDivElement),
      byId("outline", SVGPathElement),
    );
    this.brushSize = new BrushSize(this.painting);
    this.fields = new Fields(() => this.saveFields.later());
    this.views = new Views(this.stage, () => this.refreshControls());
    this.tries = new Tries((chosen) => this.attempt(() => this.goBackTo(chosen)));
    this.photographs = new Photographs(
      (id) => this.attempt(() => this.open(id)),
      (action) => this.attempt(action),
      () => this.allSaved(),
    );
    this.unsaved = new Unsaved((line) => {
      this.showFault(line);
      if (!line) this.tell("Saved.");
    });
    this.masks = new Masks(this.unsaved);
    this.finding = new Finding(this);
    /** @type {Photograph | null} */
    this.photograph = null;
    /** Number of the try that is shown as soon as it is drawn. @type {number | null} */
    this.awaited = null;
    /** Number of the awaited try whose view is shown. @type {number | null} */
    this.seen = null;
    this.saveFields = delayed(() => this.#sendFields(), SAVE_FIELDS_AFTER);
    this.saveMask = delayed(() => this.#sendMask(), SAVE_MASK_AFTER);
    this.commands = new Commands(commandsOf(this));
    this.#listen();
  }

  // Faults and what a screen reader hears.

  /**
   * Do something and show its fault, if it has one, in one line.
   * @param {() => Promise<unknown>} action
   * @returns {Promise<boolean>} whether it succeeded
   */
  async attempt(action) {
    try {
      await action();
      return true;
    } catch (error) {
      if (!(error instanceof Fault)) console.error(error);
      this.showFault(error instanceof Error ? error.message : String(error));
      return false;
    }
  }

  /** @param {string} line */
  showFault(line) {
    byId("fault-line", HTMLSpanElement).textContent = line;
    byId("fault", HTMLParagraphElement).hidden = !line;
  }

  /** @param {string} text */
  tell(text) {
    byId("status", HTMLParagraphElement).textContent = text;
  }

  // Photographs.

  /** Show the state of the server, at the start and after a lost connection. */
  async refresh() {
    const state = await api.state();
    showModel(state.model);
    const first = !this.photograph;
    if (first) {
      this.fields.declare(state.settings);
      this.tries.declared = state.settings;
      if (state.notices?.length) this.showFault(state.notices.join(" "));
    }
    this.photographs.all = state.photographs;
    this.photographs.run = state.run;
    this.photographs.draw();
    const wanted = state.photographs.find(
      ({ id }) => `#${encodeURIComponent(id)}` === location.hash,
    );
    const id = wanted?.id ?? state.current;
    if (first && id) await this.open(id);
    else if (this.photograph) await this.#loadTries();
    byId("welcome", HTMLElement).hidden = Boolean(this.photograph);
    byId("editor", HTMLElement).hidden = !this.photograph;
  }

  /** @param {string} id */
  async open(id) {
    await this.saved();
    const photograph = this.photographs.get(id);
    if (!photograph) throw new Fault("This photograph is no longer there.");
    this.photograph = photograph;
    this.photographs.current = id;
    this.photographs.draw();
    history.replaceState(null, "", `#${encodeURIComponent(id)}`);
    byId("name", HTMLElement).textContent = photograph.name;
    document.title = `${photograph.name} · editinfinity`;
    byId("welcome", HTMLElement).hidden = true;
    byId("editor", HTMLElement).hidden = false;
    this.showFault(photograph.error ?? this.unsaved.line());
    this.fields.show(this.unsaved.merged(photograph));
    this.showProgress(null);
    this.awaited = null;
    this.finding.running = false;
    this.stage.setMask(null);
    this.tries.show(id, []);
    this.views.showResult(id, null);
    if (photograph.error) return;
    byId("before", HTMLImageElement).src = address.photograph(id);
    byId("before", HTMLImageElement).alt = `The photograph ${photograph.name}`;
    this.stage.setSize(photograph.width, photograph.height);
    this.brushSize.suit();
    await Promise.all([this.#loadMask(photograph), this.#loadTries()]);
  }

  /** @param {Photograph} photograph */
  async #loadMask(photograph) {
    const mask = await this.masks.load(photograph);
    if (this.photograph?.id !== photograph.id) return;
    this.masks.keep(photograph.id, mask);
    this.stage.setMask(mask);
    this.refreshControls();
  }

  async #loadTries() {
    const { photograph } = this;
    if (!photograph) return;
    const tries = await api.tries(photograph.id);
    if (this.photograph?.id !== photograph.id) return;
    this.tries.show(photograph.id, tries);
    const awaited = tries.find((each) => each.n === this.awaited);
    if (awaited?.state === "saving" || awaited?.state === "done") {
      if (this.seen !== awaited.n) {
        this.tries.choose(awaited.n);
        this.views.showResult(photograph.id, awaited);
        this.stage.element.scrollIntoView({ block: "nearest" });
        this.tell(`Try ${awaited.n} is drawn.`);
      }
      this.seen = awaited.n;
      if (awaited.state === "done") this.awaited = null;
    } else if (awaited && (awaited.state === "failed" || awaited.state === "cancelled")) {
      this.awaited = null;
      this.tries.choose(awaited.n);
      if (this.seen === awaited.n) this.views.showResult(photograph.id, awaited);
      if (awaited.state === "failed") this.showFault(awaited.line ?? "The picture was not drawn.");
      else this.tell("Cancelled.");
    }
    const { active, current } = this.tries;
    if (current) this.views.follow(photograph.id, current);
    if (!active && !this.finding.running) this.showProgress(null);
    else if (active?.state === "queued") showWaiting(active);
    this.refreshControls();
  }

  /** @param {Iterable<File>} files */
  async add(files) {
    let last = null;
    const refused = [];
    for (const file of files) {
      this.tell(`Opening ${file.name}`);
      try {
        last = (await api.add(file)).id;
      } catch (error) {
        refused.push(error instanceof Error ? error.message : String(error));
      }
    }
    this.photographs.all = (await api.state()).photographs;
    this.photographs.draw();
    if (last) await this.open(last);
    if (refused.length) throw new Fault(refused.join(" "));
  }

  // Saving: at once, in the background; leaving the page waits for it.

  async saved() {
    await Promise.all([this.saveFields.now(), this.saveMask.now()]);
  }

  /** As `saved`, where what follows would use what is not saved. @param {string} [id] */
  async allSaved(id) {
    await this.saved();
    const line = this.unsaved.line(id);
    if (line) throw new Fault(line);
  }

  async #sendFields() {
    const { photograph, fields } = this;
    if (!photograph) return;
    const texts = {
      source: fields.source.value,
      prompt: fields.prompt.value,
      settings: fields.settings,
    };
    Object.assign(photograph, texts);
    const send = () => api.save(photograph.id, texts);
    await this.unsaved.save({ photograph, kind: "texts", send, texts });
  }

  async #sendMask() {
    const { photograph } = this;
    const { mask } = this.stage;
    if (photograph && mask) await this.masks.save(photograph, mask);
  }

  maskChanged() {
    this.saveMask.later();
    this.refreshControls();
  }

  // Drawing, going back.

  async draw() {
    const { photograph } = this;
    if (!photograph) return;
    if (!this.fields.prompt.value.trim()) {
      this.fields.prompt.focus();
      throw new Fault("Type what the picture should show.");
    }
    await this.allSaved(photograph.id);
    this.showFault("");
    this.seen = null;
    this.awaited = (await api.draw(photograph.id, this.fields.settings)).try;
    await this.#loadTries();
  }

  /** Give back the prompts, settings and mask of a try, and show it. @param {Try} chosen */
  async goBackTo(chosen) {
    const { photograph } = this;
    const { mask } = this.stage;
    if (!photograph) return;
    this.tries.choose(chosen.n);
    this.fields.show(chosen);
    this.saveFields.later();
    this.views.showResult(photograph.id, chosen);
    this.stage.element.scrollIntoView({ block: "nearest" }); // above the strip on a phone
    if (!mask) return;
    const pixels = chosen.mask
      ? await decodeGrey(await api.maskOfTry(photograph.id, chosen.n), mask.width, mask.height)
      : new Uint8Array(mask.pixels.length);
    if (this.stage.mask === mask && mask.take(pixels)) this.maskChanged();
  }

  // What is shown.

  /** @param {Progress | null} progress */
  showProgress(progress) {
    showProgress(progress, (text) => this.tell(text));
  }

  refreshControls() {
    this.commands.refresh();
    this.brushSize.show();
    byId("find", HTMLButtonElement).disabled = this.finding.running;
    const empty = this.stage.mask?.isEmpty ?? true;
    byId("place", HTMLParagraphElement).textContent = empty
      ? "Paint the place, or let the model find it. Without a mask, the whole picture may change."
      : "Only the marked place changes.";
  }

  #showZoom() {
    const zoom = this.stage.scale * devicePixelRatio * 100;
    byId("zoom-text", HTMLSpanElement).textContent =
      `${zoom < 10 ? zoom.toFixed(1) : Math.round(zoom)} %`;
  }

  // Keys, buttons and events.

  /** @param {number} by */
  step(by) {
    const next = this.photographs.neighbour(by);
    if (next && next.id !== this.photograph?.id) this.attempt(() => this.open(next.id));
  }

  #listen() {
    const { painting, stage } = this;
    painting.onpaint = () => this.maskChanged();
    painting.onchange = () => this.refreshControls();
    painting.tell = (text) => this.tell(text);
    stage.onmove = () => {
      painting.moved();
      this.#showZoom();
    };
    /** @param {string} id @param {() => void} run */
    const press = (id, run) => byId(id, HTMLButtonElement).addEventListener("click", run);
    press("previous", () => this.step(-1));
    press("next", () => this.step(1));
    press("help", () => byId("keys", HTMLDialogElement).showModal());
    press("fault-close", () => this.showFault(""));
    press("zoom-in", () => stage.zoom(1.25));
    press("zoom-out", () => stage.zoom(0.8));
    press("fit", () => stage.fit());
    press("cancel", () => this.attempt(() => this.#cancel()));
    byId("fields", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.attempt(() => this.draw());
    });
    listenForFiles((files) => this.attempt(() => this.add(files)));
    listenToChosenTry(this);
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.saved();
    });
    addEventListener("beforeunload", (event) => {
      if (!this.saveFields.due && !this.saveMask.due && !this.unsaved.line()) return;
      this.saved();
      event.preventDefault();
    });
    follow(
      (event) => this.#heard(event),
      (connected) => {
        if (connected) this.attempt(() => this.refresh());
        else showModel({ state: "failed", line: "The editor does not answer" });
      },
    );
  }

  async #cancel() {
    const { photograph } = this;
    if (photograph) await api.cancel(photograph.id, this.tries.active?.n);
  }

  /** What the server tells. @param {any} event */
  #heard(event) {
    const mine = event.photograph === this.photograph?.id;
    if (event.type === "model") showModel(event);
    else if (event.type === "progress" && mine) this.showProgress(event);
    else if (event.type === "try" && mine) this.attempt(() => this.#loadTries());
    else if (event.type === "mask" && mine) this.attempt(() => this.finding.ended(event));
    else if (event.type === "photograph") this.#changed(event.photograph);
    else if (event.type === "run") {
      this.photographs.run = event.run;
      this.photographs.draw();
    } else if (event.type === "fault") this.showFault(event.line);
  }

  /** A photograph has changed, here or in another tab. @param {Photograph} now */
  #changed(now) {
    const before = this.photograph;
    if (before?.id === now.id) {
      if (!this.saveFields.due) this.fields.follow(this.unsaved.merged(now));
      const elsewhere = document.visibilityState === "hidden";
      this.photograph = now;
      if (elsewhere && !this.saveMask.due) this.attempt(() => this.#loadMask(now));
    }
    this.photographs.put(now);
  }
}

new Editor();
