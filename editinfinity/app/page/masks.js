// The masks of photographs: read from the server, saved there, and kept with their history.

import { api } from "./api.js";
import { Mask } from "./mask.js";
import { decodeGrey, encodeGrey } from "./png.js";

/** @typedef {import("./api.js").Photograph} Photograph */

/** Photographs whose masks are kept with their history. */
const KEPT = 4;

export class Masks {
  /** @param {import("./unsaved.js").Unsaved} unsaved */
  constructor(unsaved) {
    this.unsaved = unsaved;
    /** By the photograph's id; the one shown last is the last. @type {Map<string, Mask>} */
    this.kept = new Map();
  }

  /**
   * The mask of a photograph as the server has it, or as it is here if that is not saved yet.
   * @param {Photograph} photograph
   */
  async load({ id, width, height, mask: saved }) {
    const kept = this.kept.get(id);
    const mask = kept?.width === width && kept.height === height ? kept : new Mask(width, height);
    if (this.unsaved.hasMask(id)) return mask;
    const pixels = saved
      ? await decodeGrey(await api.mask(id), width, height)
      : new Uint8Array(width * height);
    if (mask === kept) mask.take(pixels);
    else mask.pixels.set(pixels);
    return mask;
  }

  /**
   * Keep the mask that is shown, and forget those that were shown long ago.
   * @param {string} id
   * @param {Mask} mask
   */
  keep(id, mask) {
    this.kept.delete(id);
    this.kept.set(id, mask);
    for (const old of this.kept.keys())
      if (this.kept.size > KEPT && !this.unsaved.hasMask(old)) this.kept.delete(old);
  }

  /** @param {Photograph} photograph @param {Mask} mask */
  async save(photograph, mask) {
    const { id } = photograph;
    photograph.mask = !mask.isEmpty;
    const send = async () => {
      if (mask.isEmpty) await api.removeMask(id);
      else await api.saveMask(id, await encodeGrey(mask.pixels, mask.width, mask.height));
    };
    await this.unsaved.save({ photograph, kind: "mask", send });
  }
}
