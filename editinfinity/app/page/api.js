// What the page asks of its server, and what the server tells by itself.

/**
 * @typedef {string | number | boolean | null} Value
 * @typedef {Record<string, Value>} Settings
 * @typedef {{name: string, label: string, kind: "int" | "float" | "choice", min?: number,
 *   max?: number, step?: number, choices?: Value[], value: Value, help?: string}} Setting
 * @typedef {{id: string, name: string, width: number, height: number, source: string,
 *   prompt: string, mask: boolean, learned: boolean, tries: number, error: string | null,
 *   settings?: Settings}} Photograph
 * @typedef {"queued" | "learning" | "drawing" | "saving" | "done" | "failed" | "cancelled"} TryState
 * @typedef {{n: number, state: TryState, prompt: string, source: string, settings: Settings,
 *   seconds: number | null, line: string | null, mask?: boolean}} Try
 * @typedef {{state: "loading" | "ready" | "failed" | "busy", line: string,
 *   loaded?: number | null}} Model of whose parts a share of `loaded` is there; null if not known
 * @typedef {{state: "idle" | "running" | "done" | "failed" | "cancelled", done?: number,
 *   of?: number, failed?: {id: string, line: string}[], line?: string | null,
 *   report?: boolean}} Run
 * @typedef {{photographs: Photograph[], current: string | null, model: Model, settings: Setting[],
 *   run: Run, folder: string | null, notices?: string[]}} State
 * @typedef {{photograph: string, try?: number, stage: "words" | "style" | "drawing" | "saving" |
 *   "finding",
 *   iteration: number, of: number, loss?: number | null, seconds_left?: number | null}} Progress
 */

/** A fault that the server explains in one line. */
export class Fault extends Error {}

/**
 * @param {string} method
 * @param {string} path below /api
 * @param {unknown} [body] JSON, a form or a file
 * @returns {Promise<Response>}
 */
async function request(method, path, body) {
  /** @type {RequestInit} */
  const options = { method };
  if (body instanceof Blob || body instanceof FormData) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  let response;
  try {
    response = await fetch(`/api${path}`, options);
  } catch {
    throw new Fault("The editor does not answer; start `editinfinity app` again and reload.");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Fault(told.error || `The editor refused this (${response.status}).`);
}

/** @param {string} id */
const at = (id) => `/photographs/${encodeURIComponent(id)}`;

/** Addresses of pictures, for `img` elements and links. */
export const address = {
  /** @param {string} id @param {number} [size] */
  photograph: (id, size) => `/api${at(id)}/picture${size ? `?size=${size}` : ""}`,
  /** @param {string} id @param {number} n @param {number} [size] */
  result: (id, n, size) => `/api${at(id)}/tries/${n}/picture${size ? `?size=${size}` : ""}`,
  /** @param {string} id @param {number} n */
  view: (id, n) => `/api${at(id)}/tries/${n}/view`,
  /** @param {string} id @param {number} n */
  download: (id, n) => `/api${at(id)}/tries/${n}/download`,
  report: "/api/run/report/",
};

export const api = {
  /** @returns {Promise<State>} */
  state: async () => (await request("GET", "/state")).json(),

  /** @param {File} file @returns {Promise<{id: string}>} */
  async add(file) {
    const form = new FormData();
    form.append("file", file, file.name || "pasted.png");
    return (await request("POST", "/photographs", form)).json();
  },

  /** @param {string} id @param {{source: string, prompt: string, settings: Settings}} fields */
  save: (id, fields) => request("PUT", at(id), fields),

  /** @param {string} id @returns {Promise<Blob>} */
  mask: async (id) => (await request("GET", `${at(id)}/mask`)).blob(),

  /** @param {string} id @param {Blob} picture */
  saveMask: (id, picture) => request("PUT", `${at(id)}/mask`, picture),

  /** @param {string} id */
  removeMask: (id) => request("DELETE", `${at(id)}/mask`),

  /** @param {string} id @param {string} how @param {string} word */
  findMask: (id, how, word) => request("POST", `${at(id)}/find_mask`, { how, word }),

  /** @param {string} id @returns {Promise<Blob>} */
  found: async (id) => (await request("GET", `${at(id)}/found`)).blob(),

  /** @param {string} id @returns {Promise<Try[]>} */
  tries: async (id) => (await request("GET", `${at(id)}/tries`)).json(),

  /** @param {string} id @param {Settings} settings @returns {Promise<{try: number}>} */
  draw: async (id, settings) => (await request("POST", `${at(id)}/tries`, { settings })).json(),

  /** @param {string} id @param {number} n @returns {Promise<Blob>} */
  maskOfTry: async (id, n) => (await request("GET", `${at(id)}/tries/${n}/mask`)).blob(),

  /** @param {string} id @param {number} n @returns {Promise<{id: string}>} */
  editFurther: async (id, n) => (await request("POST", `${at(id)}/tries/${n}/continue`, {})).json(),

  /** @param {string} id @param {number} n @param {string} name */
  saveCase: (id, n, name) => request("POST", `${at(id)}/tries/${n}/case`, { name }),

  /** @param {string} id @param {number} [n] a try; what is being found if left out */
  cancel: (id, n) => request("POST", "/cancel", { photograph: id, try: n }),

  run: () => request("POST", "/run", {}),
  cancelRun: () => request("POST", "/run/cancel", {}),
};

/**
 * Follow what the server tells; it reconnects by itself.
 * @param {(event: any) => void} heard
 * @param {(connected: boolean) => void} connection
 */
export function follow(heard, connection) {
  const events = new EventSource("/api/events");
  events.addEventListener("message", (message) => heard(JSON.parse(message.data)));
  events.addEventListener("open", () => connection(true));
  events.addEventListener("error", () => connection(false));
}
