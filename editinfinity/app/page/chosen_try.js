// What can be done with the try that is chosen, beside looking at it and downloading it.

import { api } from "./api.js";
import { byId } from "./dom.js";

/** @param {import("./page.js").Editor} editor */
export function listenToChosenTry(editor) {
  byId("further", HTMLButtonElement).addEventListener("click", () =>
    editor.attempt(async () => {
      const { photograph, tries } = editor;
      if (!photograph || tries.chosen === null) return;
      const { id } = await api.editFurther(photograph.id, tries.chosen);
      editor.photographs.all = (await api.state()).photographs;
      await editor.open(id);
    }),
  );
  const dialog = byId("case", HTMLDialogElement);
  const name = byId("case-name", HTMLInputElement);
  byId("save-case", HTMLButtonElement).addEventListener("click", () => {
    name.value = (editor.photograph?.name ?? "").replace(/\.[^.]*$/, "");
    dialog.showModal();
    name.select();
  });
  byId("case-cancel", HTMLButtonElement).addEventListener("click", () => dialog.close());
  byId("case-form", HTMLFormElement).addEventListener("submit", () =>
    editor.attempt(async () => {
      const { photograph, tries } = editor;
      if (!photograph || tries.chosen === null) return;
      await api.saveCase(photograph.id, tries.chosen, name.value.trim());
      editor.tell(`The case ${name.value.trim()} is saved.`);
    }),
  );
}
