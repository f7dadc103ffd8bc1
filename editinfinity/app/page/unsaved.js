// Changes that the server could not save: kept on the page, and sent again until it can.

/** @typedef {import("./api.js").Photograph} Photograph */
/** @typedef {Partial<Pick<Photograph, "source" | "prompt" | "settings">>} Texts */
/**
 * @typedef {object} Change
 * @property {Photograph} photograph
 * @property {"texts" | "mask"} kind
 * @property {() => Promise<unknown>} send
 * @property {Texts} [texts] to be shown meanwhile
 */

const AGAIN_AFTER = 3000; // milliseconds

export class Unsaved {
  /** @param {(line: string) => void} tell called with why something is not saved; "" when all is */
  constructor(tell) {
    this.tell = tell;
    /** @type {Map<string, {change: Change, line: string}>} */
    this.kept = new Map();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /** Save a change, now or later; it replaces an earlier one of its kind. @param {Change} change */
  async save(change) {
    const { photograph, kind, send } = change;
    const key = `${kind} ${photograph.id}`;
    const before = this.kept.get(key);
    try {
      await send();
      if (!before || this.kept.get(key) !== before) return;
      this.kept.delete(key);
      if (!this.kept.size) this.tell("");
    } catch (error) {
      if (this.kept.get(key) !== before) return; // a later one is kept
      const reason = (error instanceof Error ? error.message : String(error)).replace(/\.$/, "");
      const line = `${reason}. Your change is kept on this page and saved when it can be.`;
      this.kept.set(key, { change, line });
      if (line !== before?.line) this.tell(line);
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.#again(), AGAIN_AFTER);
    }
  }

  async #again() {
    for (const { change } of [...this.kept.values()]) await this.save(change);
  }

  /**
   * Why something is not saved; empty if all is.
   * @param {string} [id] of a photograph; all if left out
   */
  line(id) {
    const of = [...this.kept.values()].find(
      ({ change }) => id === undefined || change.photograph.id === id,
    );
    return of?.line ?? "";
  }

  /** @param {string} id */
  hasMask(id) {
    return this.kept.has(`mask ${id}`);
  }

  /** A photograph with the texts that are not saved yet. @param {Photograph} photograph */
  merged(photograph) {
    return { ...photograph, ...this.kept.get(`texts ${photograph.id}`)?.change.texts };
  }
}
