// Everything that has a key: the toolbar, the list of keys and the keyboard use the same table.

import { byId, make, makeSvg } from "./dom.js";

/**
 * @typedef {object} Command
 * @property {string} label
 * @property {string[]} keys as in KeyboardEvent.key, with "Ctrl+" and "Shift+" before it
 * @property {string} [icon] of icons.svg; commands that have one are in the toolbar
 * @property {() => void} run
 * @property {() => boolean} [pressed] whether it is chosen; left out by commands that only act
 * @property {() => boolean} [enabled]
 */

/** The name of a key event in a command's `keys`. @param {KeyboardEvent} event */
function nameOf(event) {
  const letter = event.key.length === 1;
  const key = letter ? event.key.toLowerCase() : event.key;
  const shift = event.shiftKey && (!letter || /[a-z]/.test(key));
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${shift ? "Shift+" : ""}${key}`;
}

/** Whether keys are text for this element. @param {EventTarget | null} target */
function takesText(target) {
  return (
    target instanceof HTMLElement &&
    target.matches("textarea, select, input:not([type=range], [type=radio], [type=checkbox])")
  );
}

export class Commands {
  /** @param {(Command | null)[]} all null divides groups of the toolbar */
  constructor(all) {
    this.all = all.filter((command) => command !== null);
    /** @type {Map<Command, HTMLButtonElement>} */
    this.buttons = new Map();
    const toolbar = byId("tools", HTMLDivElement);
    for (const command of all) {
      if (!command) toolbar.append(make("hr", { "aria-hidden": "true" }));
      else if (command.icon) toolbar.append(this.#button(command, command.icon));
    }
    byId("key-list", HTMLElement).append(
      ...this.all.flatMap((command) => [
        make("dt", {}, ...shown(command.keys)),
        make("dd", { text: command.label }),
      ]),
      make("dt", {}, make("kbd", { text: "Arrows" }), " ", make("kbd", { text: "Space" })),
      make("dd", { text: "On the photograph: move the brush, paint" }),
      make("dt", {}, make("kbd", { text: "Enter" })),
      make("dd", { text: "On the photograph: start and end a stroke" }),
      make("dt", {}, make("kbd", { text: "Alt" })),
      make("dd", { text: "Held while painting: take away" }),
      make("dt", {}, make("kbd", { text: "Space" }), " + drag"),
      make("dd", { text: "Move the photograph" }),
      make("dt", {}, make("kbd", { text: "Ctrl" }), " + wheel"),
      make("dd", { text: "Zoom; the wheel alone sizes the brush" }),
    );
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  /** @param {Command} command @param {string} picture */
  #button(command, picture) {
    const button = make(
      "button",
      {
        type: "button",
        "aria-label": command.label,
        title: `${command.label} (${readable(command.keys[0])})`,
        "aria-pressed": command.pressed ? "false" : null,
        onclick: () => command.run(),
      },
      makeSvg(
        "svg",
        { viewBox: "0 0 24 24", "aria-hidden": "true" },
        makeSvg("use", { href: `/static/icons.svg#${picture}` }),
      ),
    );
    this.buttons.set(command, button);
    return button;
  }

  /** Show which commands are chosen and which are possible. */
  refresh() {
    for (const [command, button] of this.buttons) {
      if (command.pressed) button.setAttribute("aria-pressed", String(command.pressed()));
      if (command.enabled) button.disabled = !command.enabled();
    }
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.defaultPrevented || event.altKey || document.querySelector("dialog[open]")) return;
    const name = nameOf(event);
    if (takesText(event.target) && name !== "Ctrl+Enter") return;
    const command = this.all.find((each) => each.keys.includes(name));
    if (!command || command.enabled?.() === false) return;
    event.preventDefault();
    command.run();
  }
}

/** @param {string} key */
function readable(key) {
  return key
    .replace(/\+(.)$/, (_, letter) => `+${letter.toUpperCase()}`)
    .replace(/^[a-z]$/, (letter) => letter.toUpperCase());
}

/** @param {string[]} keys */
function shown(keys) {
  return keys.flatMap((key, at) => [at ? " " : "", make("kbd", { text: readable(key) })]);
}
