// What is told of an edit beside its picture: prompts, metrics, losses, times and settings.

import { data, MASKS, metricText } from "./data.js";
import { duration, make, makeSvg } from "./dom.js";
import { prompt } from "./prompt.js";

/** @typedef {import("./data.js").Curve} Curve */
/** @typedef {import("./data.js").Edit} Edit */
/** @typedef {import("./data.js").Settings} Settings */
/** @typedef {import("./data.js").Stage} Stage */
/** @typedef {import("./data.js").Variant} Variant */

/**
 * The sections of the panel.
 * @param {import("./data.js").Entry} entry
 * @param {Variant | null} variant whose metrics and settings are shown
 * @returns {HTMLElement[]}
 */
export function sections({ photo, edit }, variant) {
  const stages = mergeStages([...photo.stages, ...edit.stages]);
  const metrics = variant ? metricRows(variant) : [];
  const settings = { ...data.settings, ...photo.settings, ...edit.settings };
  /** @type {[label: string, link: string][]} */
  const links = [["Photograph", photo.link]];
  if (edit.link) links.push(["Result", edit.link]);
  if (variant) links.push(["At the model’s size", variant.link]);
  links.push(...edit.files);
  const all = [
    edit.reason
      ? make("section", {}, make("p", { class: "reason", dir: "auto", text: edit.reason }))
      : null,
    make("section", {}, words(photo.source, edit)),
    edit.why ? section("Why this variant", make("p", { text: edit.why })) : null,
    photo.warnings.length
      ? section("Warnings", list(photo.warnings.map((line) => make("li", { text: line }))))
      : null,
    metrics.length ? section("Metrics", make("table", {}, make("tbody", {}, ...metrics))) : null,
    photo.curves.length ? section("Training losses", ...photo.curves.map(lossCurve)) : null,
    stages.length ? section("Time and memory", stageTable(stages)) : null,
    variant
      ? settingsTable(`Settings of ${variant.label || "this picture"}`, variant.settings)
      : null,
    settingsTable("All settings", settings),
    section("Open", list(links.map(([text, link]) => make("li", {}, linkTo(text, link))))),
  ];
  return all.filter((each) => each !== null);
}

/** @param {string} title @param {HTMLElement[]} content */
function section(title, ...content) {
  return make("section", {}, make("h3", { text: title }), ...content);
}

/** @param {HTMLLIElement[]} items */
function list(items) {
  return make("ul", { class: "files" }, ...items);
}

/** @param {string} text @param {string} link */
function linkTo(text, link) {
  return make("a", { href: link, target: "_blank", rel: "noopener", text });
}

/** @param {string | null} source @param {Edit} edit */
function words(source, edit) {
  const about = (/** @type {string} */ term, /** @type {HTMLElement | string} */ text) =>
    make("div", {}, make("dt", { text: term }), make("dd", {}, text));
  const place = edit.mask === "none" ? "none, everything may change" : MASKS[edit.mask];
  return make(
    "dl",
    { class: "words" },
    about("The photograph shows", prompt(source, "old", edit.prompt)),
    about("The edit should show", prompt(edit.prompt, "new", source)),
    about("Mask", edit.word ? `where “${edit.word}” is` : place),
  );
}

/** @param {Variant} variant */
function metricRows({ metrics, missing }) {
  return data.metrics
    .filter(({ name }) => name in metrics || name in missing)
    .map((metric) => {
      const value = metrics[metric.name] ?? null;
      const reason = value === null ? missing[metric.name] : "";
      const better = metric.higher ? "higher is better" : "lower is better";
      return make(
        "tr",
        {},
        make(
          "th",
          { scope: "row", title: metric.about },
          `${metric.label} `,
          make("span", { "aria-label": better, text: metric.higher ? "↑" : "↓" }),
          reason ? make("span", { class: "missing", text: reason }) : null,
        ),
        make("td", { text: value === null ? "–" : metricText(metric, value) }),
      );
    });
}

/**
 * A loss curve: a faint line for the points and a strong line for their running mean.
 * @param {Curve} curve
 */
function lossCurve({ name, points }) {
  const [width, height, left, low] = [340, 120, 36, 16];
  const [first, opening] = points[0];
  const [last, final] = points[points.length - 1];
  const losses = points.map(([, loss]) => loss);
  const least = Math.min(...losses);
  const most = Math.max(...losses);
  const x = (/** @type {number} */ iteration) =>
    left + ((iteration - first) / (last - first || 1)) * (width - left - 6);
  const y = (/** @type {number} */ loss) =>
    6 + (1 - (loss - least) / (most - least || 1)) * (height - low - 10);
  const path = (/** @type {number[]} */ values) =>
    values
      .map((loss, at) => `${at ? "L" : "M"}${x(points[at][0]).toFixed(1)} ${y(loss).toFixed(1)}`)
      .join("");
  let mean = opening;
  const smooth = losses.map((loss) => {
    mean += (loss - mean) * 0.25;
    return mean;
  });
  /** @param {string} text @param {number} x @param {number} y @param {string} anchor */
  const label = (text, x, y, anchor) => makeSvg("text", { x, y, "text-anchor": anchor }, text);
  const description =
    `${name}: loss ${opening.toPrecision(3)} at iteration ${first}, ` +
    `${final.toPrecision(3)} at iteration ${last}`;
  return make(
    "figure",
    { class: "curve" },
    make("p", { text: name }),
    makeSvg(
      "svg",
      { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": description },
      makeSvg("path", {
        class: "axis",
        d: `M${left} 4V${height - low}H${width - 4}`,
        fill: "none",
      }),
      label(most.toPrecision(2), left - 5, 12, "end"),
      label(least.toPrecision(2), left - 5, height - low, "end"),
      label(String(first), left, height - 3, "start"),
      label(`iteration ${last}`, width - 6, height - 3, "end"),
      makeSvg("path", { class: "raw", d: path(losses) }),
      makeSvg("path", { class: "smooth", d: path(smooth) }),
    ),
  );
}

/** Merge stages that have the same name. @param {Stage[]} stages */
function mergeStages(stages) {
  const most = (/** @type {number | null} */ one, /** @type {number | null} */ other) =>
    one === null || other === null ? (one ?? other) : Math.max(one, other);
  /** @type {Map<string, Stage>} */
  const found = new Map();
  for (const stage of stages) {
    const before = found.get(stage.name);
    found.set(
      stage.name,
      before
        ? {
            ...before,
            seconds: before.seconds + stage.seconds,
            memory: most(before.memory, stage.memory),
            card: most(before.card, stage.card),
          }
        : stage,
    );
  }
  return [...found.values()];
}

/** @param {Stage[]} stages */
function stageTable(stages) {
  const longest = Math.max(...stages.map((stage) => stage.seconds));
  const onCard = stages.some((stage) => stage.card !== null);
  const titles = ["Time", "Memory", ...(onCard ? ["GPU"] : [])];
  const size = (/** @type {number | null} */ bytes) =>
    make("td", { text: bytes === null ? "–" : bytesText(bytes) });
  const rows = stages.map((stage) => {
    const bar = make("i");
    bar.style.width = `${(stage.seconds / (longest || 1)) * 100}%`;
    const meter = make("span", { class: "meter", "aria-hidden": "true" }, bar);
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, stage.name, meter),
      make("td", { text: duration(stage.seconds) }),
      size(stage.memory),
      onCard ? size(stage.card) : null,
    );
  });
  const heads = titles.map((text) => make("th", { scope: "col", class: "number", text }));
  return make(
    "table",
    {},
    make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "Stage" }), ...heads)),
    make("tbody", {}, ...rows),
  );
}

/** @param {number} bytes */
function bytesText(bytes) {
  return bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** @param {string} title @param {Settings} settings */
function settingsTable(title, settings) {
  const rows = flatten(settings).map(([key, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return make(
      "tr",
      {},
      make("th", { scope: "row", text: key }),
      make("td", { dir: "auto", text }),
    );
  });
  return make(
    "details",
    {},
    make("summary", { text: title }),
    make("table", { class: "settings" }, make("tbody", {}, ...rows)),
  );
}

/**
 * Settings with those that they contain, as `outer.inner`.
 * @param {object} settings
 * @param {string} prefix
 * @returns {[key: string, value: unknown][]}
 */
function flatten(settings, prefix = "") {
  return Object.entries(settings).flatMap(([key, value]) =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? flatten(value, `${prefix}${key}.`)
      : [[`${prefix}${key}`, value]],
  );
}
