// All edits as cards, loaded when they scroll near; with search, filters and sorting.

const gallery = $("gallery");
const state = { find: "", outcome: "all", mask: "all", sort: "order", masks: false };
const ratios = entries.map((entry) => entry.ratio).sort((a, b) => a - b);
const typicalRatio = Math.min(1.5, Math.max(0.8, ratios[Math.floor(ratios.length / 2)] || 4 / 3));

function fill(card) {
  const entry = entries[card.dataset.index];
  const small = picturesOf(entry);
  if (!small) return false;
  const shot = card.firstElementChild;
  const { edit } = entry;
  const name = `${entry.photo.name}, ${edit.name}`;
  shot.replaceChildren();
  shot.classList.toggle("failed-shot", !edit.link);
  if (!small.source && !small.after) {
    shot.append(make("p", { class: "blank", text: "no picture that can be shown" }));
  } else {
    const kinds = new Set(state.masks ? ["mask"] : []);
    if (edit.outcome === "mapped") kinds.add("attention");
    const after = edit.link && edit.outcome === "edited" ? { source: small.after, part: WHOLE } : null;
    const view = frame({ before: { source: small.source, part: WHOLE }, after, over: edit.link ? overlays(entry, small, kinds, entry.chosen && entry.chosen.smoothing) : [], name });
    const wide = entry.ratio > typicalRatio;
    view.style.width = wide ? "100%" : `${(entry.ratio / typicalRatio) * 100}%`;
    view.style.height = wide ? `${(typicalRatio / entry.ratio) * 100}%` : "100%";
    shot.append(view);
  }
  card.dataset.filled = "";
  return true;
}

function facts(entry) {
  const { edit } = entry;
  const line = make("p", { class: "facts" });
  if (edit.outcome !== "edited") line.append(make("span", { class: edit.outcome === "failed" ? "failed" : "", text: edit.outcome }));
  if (edit.word) line.append(make("span", { text: `word: ${edit.word}` }));
  else if (edit.mask === "user") line.append(make("span", { text: "mask" }));
  else if (["words", "bits", "both"].includes(edit.mask)) line.append(make("span", { text: `place: ${edit.mask}` }));
  else if (edit.mask === "blend") line.append(make("span", { text: "blend mask" }));
  if (edit.variants.length > 1) line.append(make("span", { text: countText(edit.variants.length, "variant", "variants") }));
  for (const metric of data.metrics) {
    const value = entry.chosen && entry.chosen.metrics[metric.name];
    if (["background_psnr", "clip_edited", "alignment"].includes(metric.name) && typeof value === "number")
      line.append(make("span", { text: `${shortLabel(metric)} ${metricText(metric, value)}`, title: `${metric.label}: ${metric.about}` }));
  }
  if (entry.seconds) line.append(make("span", { text: duration(entry.seconds), title: "total time of its jobs" }));
  return line;
}

function card(entry) {
  const { photo, edit } = entry;
  const title = make("button", { type: "button", class: "open", onclick: () => detail.open(entry) },
    make("bdi", { text: photo.name }), photo.edits.length > 1 || edit.name !== "edit" ? make("small", {}, " · ", make("bdi", { text: edit.name })) : null);
  const holder = make("article", { class: "card", "data-index": entry.index },
    make("div", { class: "shot" }),
    make("div", { class: "body" },
      make("h2", {}, title),
      prompt(edit.prompt, "new", photo.source || ""),
      edit.reason ? make("p", { class: "reason", dir: "auto", text: edit.reason }) : null,
      facts(entry)));
  holder.firstElementChild.style.aspectRatio = typicalRatio;
  return holder;
}

const cards = entries.map(card);
const observer = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen)
    if (isIntersecting && fill(target)) observer.unobserve(target);
}, { rootMargin: "900px" });

const metricsByName = Object.fromEntries(data.metrics.map((metric) => [metric.name, metric]));

/** Return a function that compares two entries; entries without a value come last. */
function order(key) {
  const value = {
    order: (entry) => entry.index,
    name: (entry) => entry.index,
    newest: (entry) => (entry.edit.made === null ? null : -entry.edit.made),
    slowest: (entry) => -entry.seconds,
    faults: (entry) => (entry.edit.outcome === "failed" ? 0 : entry.edit.outcome === "not made" ? 1 : 2),
  }[key] || ((entry) => {
    const found = entry.chosen && entry.chosen.metrics[key];
    return typeof found === "number" ? (metricsByName[key].higher ? -found : found) : null;
  });
  const collate = new Intl.Collator("en", { numeric: true }).compare;
  return (one, other) => {
    if (key === "name") return collate(one.photo.name, other.photo.name) || collate(one.edit.name, other.edit.name);
    const a = value(one), b = value(other);
    if (a === null || b === null) return (a === null) - (b === null) || one.index - other.index;
    return a - b || one.index - other.index;
  };
}

let shown = entries;
function show() {
  const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
  shown = entries.filter((entry) =>
    (state.outcome === "all" || entry.edit.outcome === state.outcome) &&
    (state.mask === "all" || entry.edit.mask === state.mask) &&
    words.every((word) => entry.searchText.includes(word)));
  shown = [...shown].sort(order(state.sort));
  gallery.replaceChildren(...shown.map((entry) => cards[entry.index]));
  $("nothing").hidden = shown.length > 0;
  $("count").textContent = `${countText(shown.length, "edit", "edits")} shown`;
  for (const entry of shown) if (!("filled" in cards[entry.index].dataset)) observer.observe(cards[entry.index]);
}

function controls() {
  const countOf = (key) => entries.filter((entry) => entry.edit.outcome === key).length;
  for (const key of ["all", ...OUTCOMES.filter(countOf)]) {
    const label = key === "all" ? `All ${entries.length}` : `${key[0].toUpperCase()}${key.slice(1)} ${countOf(key)}`;
    $("outcomes").append(make("label", {},
      make("input", { type: "radio", name: "outcome", value: key, checked: key === "all", onchange: () => { state.outcome = key; show(); } }),
      make("span", { text: label })));
  }
  const found = new Set(entries.map((entry) => entry.edit.mask));
  $("masks").append(make("option", { value: "all", text: "any" }), ...Object.keys(MASKS).filter((key) => found.has(key)).map((key) => make("option", { value: key, text: MASKS[key] })));
  $("masks").addEventListener("change", (event) => { state.mask = event.target.value; show(); });
  const sorts = [["order", "in running order"], ["name", "name"], ["faults", "failed first"], ["newest", "newest first"], ["slowest", "slowest first"],
    ...data.metrics.map((metric) => [metric.name, `${metric.label}, best first`])];
  $("sort").append(...sorts.map(([value, text]) => make("option", { value, text })));
  $("sort").addEventListener("change", (event) => { state.sort = event.target.value; show(); });
  $("find").addEventListener("input", (event) => { state.find = event.target.value; show(); });
  $("layers").hidden = !entries.some((entry) => entry.edit.mask !== "none");
  $("all-masks").addEventListener("change", (event) => {
    state.masks = event.target.checked;
    for (const each of cards) delete each.dataset.filled;
    show();
  });
  $("reset").addEventListener("click", () => {
    Object.assign(state, { find: "", outcome: "all", mask: "all" });
    $("find").value = ""; $("masks").value = "all";
    document.querySelector('input[name="outcome"][value="all"]').checked = true;
    show();
    $("find").focus();
  });
  const seconds = entries.reduce((sum, entry) => sum + entry.seconds, 0);
  const good = countOf("edited") + countOf("mapped");
  $("summary").textContent = [
    countText(data.cases.length, "photograph", "photographs"),
    `${good} of ${countText(entries.length, "edit", "edits")} made`,
    seconds ? `${duration(seconds)} of job time` : null,
    `model ${data.settings.model}`,
    new Date(data.made * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }),
  ].filter(Boolean).join(" · ");
}
