// The fields beside the photograph: prompts and settings.

import { byId, make } from "./dom.js";

/** @typedef {import("./api.js").Setting} Setting */
/** @typedef {import("./api.js").Settings} Settings */
/** @typedef {import("./api.js").Value} Value */

/** Name of the setting that makes one drawing differ from the next. */
const SEED = "seed";

export class Fields {
  /** @param {() => void} onchange called after the person has changed something */
  constructor(onchange) {
    this.onchange = onchange;
    this.source = byId("source", HTMLTextAreaElement);
    this.prompt = byId("prompt", HTMLTextAreaElement);
    this.list = byId("settings", HTMLDivElement);
    /** @type {Map<string, {setting: Setting, control: HTMLInputElement | HTMLSelectElement}>} */
    this.controls = new Map();
    for (const text of [this.source, this.prompt]) text.addEventListener("input", onchange);
  }

  /** @param {Setting[]} settings */
  declare(settings) {
    this.controls.clear();
    this.list.replaceChildren(...settings.map((setting) => this.#field(setting)));
  }

  /** @param {Setting} setting */
  #field(setting) {
    const id = `setting-${setting.name}`;
    const about = setting.help ? `${id}-help` : null;
    const control =
      setting.kind === "choice"
        ? make(
            "select",
            { id, "aria-describedby": about },
            ...(setting.choices ?? []).map((choice) =>
              make("option", { value: String(choice), text: String(choice) }),
            ),
          )
        : make("input", {
            id,
            type: "number",
            min: setting.min ?? null,
            max: setting.name === SEED ? null : (setting.max ?? null),
            step: setting.kind === "int" ? (setting.step ?? 1) : "any",
            "aria-describedby": about,
          });
    control.addEventListener("change", this.onchange);
    this.controls.set(setting.name, { setting, control });
    this.#show(setting.name, setting.value);
    return make(
      "div",
      { class: "field" },
      make("label", { for: id, text: setting.label }),
      control,
      about && setting.help ? make("small", { id: about, text: setting.help }) : null,
    );
  }

  /** @param {string} name @param {Value} value */
  #show(name, value) {
    const found = this.controls.get(name);
    if (found) found.control.value = value === null ? "" : String(value);
  }

  /** Settings whose fields differ from their usual values and are not empty. @returns {Settings} */
  get settings() {
    /** @type {Settings} */
    const values = {};
    for (const [name, { setting, control }] of this.controls) {
      if (control.value === "" || control.value === String(setting.value ?? "")) continue;
      if (setting.kind === "choice")
        values[name] =
          setting.choices?.find((choice) => String(choice) === control.value) ?? control.value;
      else values[name] = Number(control.value);
    }
    return values;
  }

  /** Show settings; what they leave out gets its default. @param {Settings} settings */
  set settings(settings) {
    for (const [name, { setting }] of this.controls)
      this.#show(name, name in settings ? settings[name] : setting.value);
  }

  /** Take the next seed, for another drawing of the same. */
  nextSeed() {
    const seed = this.controls.get(SEED);
    if (seed) this.#show(SEED, Number(seed.control.value || 0) + 1);
  }

  /** @param {{source: string, prompt: string, settings?: Settings}} values */
  show(values) {
    this.source.value = values.source;
    this.prompt.value = values.prompt;
    this.settings = values.settings ?? {};
  }

  /**
   * Show what another tab has typed, except where the person is typing here.
   * @param {{source: string, prompt: string, settings?: Settings}} values
   */
  follow(values) {
    const { activeElement } = document;
    if (activeElement !== this.source) this.source.value = values.source;
    if (activeElement !== this.prompt) this.prompt.value = values.prompt;
    if (!this.list.contains(activeElement)) this.settings = values.settings ?? {};
  }
}
