// The model's search for the place of an edit; what it finds becomes the mask, to paint further.

import { api, Fault } from "./api.js";
import { byId } from "./dom.js";
import { decodeGrey } from "./png.js";

export class Finding {
  /** @param {import("./page.js").Editor} editor */
  constructor(editor) {
    this.editor = editor;
    /** Whether a search waits or runs. */
    this.running = false;
    this.how = byId("how", HTMLSelectElement);
    this.word = byId("word", HTMLInputElement);
    this.how.addEventListener("change", () => {
      byId("word-field", HTMLDivElement).hidden = this.how.value !== "word";
    });
    byId("find", HTMLButtonElement).addEventListener("click", () =>
      editor.attempt(() => this.#start()),
    );
  }

  async #start() {
    const { editor } = this;
    const { photograph } = editor;
    if (!photograph) return;
    await editor.allSaved(photograph.id);
    const how = this.how.value;
    const word = how === "word" ? this.word.value.trim() : "";
    if (how === "word" && !word) throw new Fault("Type the word whose place is to be found.");
    editor.showFault("");
    await api.findMask(photograph.id, how, word);
    this.running = true;
    editor.showProgress({ photograph: photograph.id, stage: "finding", iteration: 0, of: 0 });
    editor.refreshControls();
  }

  /**
   * The search has ended.
   * @param {{photograph: string, state: "done" | "failed" | "cancelled", line: string}} event
   */
  async ended({ photograph, state, line }) {
    const { editor } = this;
    const { mask } = editor.stage;
    this.running = false;
    editor.showProgress(null);
    editor.refreshControls();
    if (state === "failed") throw new Fault(line);
    if (state !== "done" || !mask) return;
    const found = await decodeGrey(await api.found(photograph), mask.width, mask.height);
    if (editor.stage.mask !== mask) return;
    mask.take(found.map((value) => (value >= 128 ? 255 : 0)));
    editor.views.set("paint");
    editor.maskChanged();
    if (mask.isEmpty) throw new Fault("No place was found; paint it, or name a word.");
    editor.tell("The place was found; it can be painted further.");
  }
}
