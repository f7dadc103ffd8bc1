// What can be done with a key or a button of the toolbar.

import { byId } from "./dom.js";

/** @typedef {import("./page.js").Editor} Editor */
/** @typedef {import("./mask.js").Mask} Mask */

/**
 * The commands of the page, in the order of the toolbar; null divides its groups.
 * @param {Editor} editor
 * @returns {(import("./commands.js").Command | null)[]}
 */
export function commandsOf(editor) {
  const { painting, stage } = editor;
  /** @param {import("./painting.js").ToolName} tool @param {string} label @param {string} key */
  const tool = (tool, label, key) => ({
    label,
    keys: [key],
    icon: tool,
    run: () => {
      editor.views.set("paint");
      painting.choose(tool);
    },
    pressed: () => painting.tool === tool && editor.views.current === "paint",
  });
  /** @param {(mask: Mask) => void} change */
  const step = (change) => () => {
    const { mask } = stage;
    if (!mask) return;
    editor.views.set("paint");
    mask.step(() => change(mask));
    editor.maskChanged();
  };
  const marked = () => Boolean(stage.mask && !stage.mask.isEmpty);
  const margin = () => Math.max(1, Math.round(Math.max(stage.width, stage.height) / 200));
  return [
    tool("brush", "Brush", "b"),
    tool("eraser", "Eraser", "e"),
    tool("box", "Box", "r"),
    tool("lasso", "Lasso", "l"),
    tool("fill", "Fill", "f"),
    null,
    {
      label: "Grow",
      keys: ["g"],
      icon: "grow",
      run: step((mask) => mask.grow(margin())),
      enabled: marked,
    },
    {
      label: "Shrink",
      keys: ["Shift+g"],
      icon: "shrink",
      run: step((mask) => mask.grow(-margin())),
      enabled: marked,
    },
    { label: "Invert", keys: ["i"], icon: "invert", run: step((mask) => mask.invert()) },
    {
      label: "Remove the mask",
      keys: ["Delete"],
      icon: "clear",
      run: step((mask) => mask.clear()),
      enabled: marked,
    },
    null,
    {
      label: "Undo",
      keys: ["Ctrl+z"],
      icon: "undo",
      run: () => {
        if (stage.mask?.undo()) editor.maskChanged();
      },
      enabled: () => Boolean(stage.mask?.history.past.length),
    },
    {
      label: "Redo",
      keys: ["Ctrl+Shift+z", "Ctrl+y"],
      icon: "redo",
      run: () => {
        if (stage.mask?.redo()) editor.maskChanged();
      },
      enabled: () => Boolean(stage.mask?.history.future.length),
    },
    null,
    {
      label: "Show the mask",
      keys: ["m"],
      icon: "eye",
      run: () => {
        stage.showMask(!stage.shown);
        editor.commands.refresh();
      },
      pressed: () => stage.shown,
    },
    { label: "Larger brush", keys: ["]"], run: () => painting.resizeBy(1) },
    { label: "Smaller brush", keys: ["["], run: () => painting.resizeBy(-1) },
    { label: "Zoom in", keys: ["+", "="], run: () => stage.zoom(1.25) },
    { label: "Zoom out", keys: ["-"], run: () => stage.zoom(0.8) },
    { label: "Fit", keys: ["0"], run: () => stage.fit() },
    {
      label: "Compare",
      keys: ["c"],
      run: () => editor.views.set(editor.views.current === "compare" ? "paint" : "compare"),
    },
    { label: "Draw", keys: ["Ctrl+Enter"], run: () => editor.attempt(() => editor.draw()) },
    {
      label: "Draw with the next seed",
      keys: ["n"],
      run: () => {
        editor.fields.nextSeed();
        editor.saveFields.later();
        editor.attempt(() => editor.draw());
      },
    },
    { label: "Next photograph", keys: ["j"], run: () => editor.step(1) },
    { label: "Previous photograph", keys: ["k"], run: () => editor.step(-1) },
    { label: "All photographs", keys: ["a"], run: () => editor.photographs.show() },
    { label: "This list", keys: ["?"], run: () => byId("keys", HTMLDialogElement).showModal() },
  ];
}
