// The state of the model, and how far the work on a photograph is.

import { byId, duration } from "./dom.js";

/** @typedef {import("./api.js").Progress} Progress */
/** @typedef {import("./api.js").Try} Try */

const DOING = {
  words: "Learning the words",
  style: "Learning the photograph",
  drawing: "Drawing",
  saving: "Saving",
  finding: "Finding the place",
};

/** @param {import("./api.js").Model} model */
export function showModel({ state, line, loaded = null }) {
  byId("model", HTMLElement).dataset.state = state;
  const usual = {
    loading: "Loading the model",
    ready: "Ready",
    busy: "Busy",
    failed: "No model",
  };
  byId("model-line", HTMLElement).textContent = line || usual[state];
  byId("model", HTMLElement).title = line;
  const bar = byId("model-bar", HTMLProgressElement);
  bar.hidden = state !== "loading";
  if (loaded === null) bar.removeAttribute("value");
  else bar.value = loaded;
}

/** @param {Try} waiting */
export function showWaiting(waiting) {
  byId("progress", HTMLDivElement).hidden = false;
  byId("progress-text", HTMLParagraphElement).textContent = `Try ${waiting.n} is waiting`;
  byId("progress-detail", HTMLParagraphElement).textContent = "";
  byId("progress-bar", HTMLProgressElement).removeAttribute("value");
}

/**
 * @param {Progress | null} progress null when there is none
 * @param {(text: string) => void} tell says what begins to a screen reader
 */
export function showProgress(progress, tell) {
  byId("progress", HTMLDivElement).hidden = !progress;
  if (!progress) return;
  const { stage, iteration, of, loss, seconds_left: left } = progress;
  const text = byId("progress-text", HTMLParagraphElement);
  if (text.textContent !== DOING[stage]) tell(DOING[stage]);
  text.textContent = DOING[stage];
  byId("progress-detail", HTMLParagraphElement).textContent = [
    of ? `${iteration} of ${of}` : "",
    loss == null ? "" : `loss ${loss.toFixed(3)}`,
    left == null ? "" : `${duration(left)} left`,
  ]
    .filter(Boolean)
    .join(" · ");
  const bar = byId("progress-bar", HTMLProgressElement);
  if (of) bar.value = iteration / of;
  else bar.removeAttribute("value");
}
