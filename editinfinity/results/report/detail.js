// The detail view of one edit.

const detail = {
  dialog: $("detail"), entry: null, variant: null, mode: "slider", kinds: new Set(),

  open(entry) {
    const small = picturesOf(entry);
    if (!small) return;
    this.entry = entry;
    this.small = small;
    this.variant = null;
    this.draw();
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.querySelector(".panel").scrollTop = 0;
    this.dialog.scrollTop = 0;
    try { history.replaceState(null, "", `#${entry.id}`); } catch { /* browsers forbid it in some contexts */ }
  },

  step(by) {
    const position = shown.indexOf(this.entry);
    // An entry hidden by the filter counts as before the first and after the last.
    const from = position < 0 && by < 0 ? 0 : position;
    const next = shown[(from + by + shown.length) % shown.length];
    if (next) this.open(next);
  },

  /** The frames of the current view mode. */
  views() {
    const { entry, small, variant } = this;
    const { photo, edit } = entry;
    const name = `${photo.name}, ${edit.name}`;
    const region = variant ? variant.box : WHOLE;
    const before = { source: small.source, part: WHOLE, full: photo.link };
    let after = null;
    if (variant) after = { source: small.variants[variant.name] || small.after, part: variant.box, full: variant.link };
    else if (edit.link && edit.outcome === "edited") after = { source: small.after, part: WHOLE, full: edit.link };
    const over = overlays(entry, small, this.kinds, (variant || entry.chosen || {}).smoothing);
    const one = (options) => {
      const view = frame({ shown: region, over, name, ...options });
      const size = photo.size || [entry.ratio, 1];
      view.style.setProperty("--ratio", (size[0] * region[2]) / (size[1] * region[3]));
      return view;
    };
    if (!small.source && !after) return [make("p", { class: "blank", text: "There is no picture that can be shown." })];
    if (!after) return [one({ before, tags: false })];
    if (this.mode === "side") {
      const right = one({ before, after, tags: false });
      right.classList.add("alone");
      return [one({ before }), right];
    }
    const view = one({ before, after });
    if (this.mode !== "slider") view.classList.add(this.mode);
    return [view];
  },

  redraw() {
    const views = this.views();
    const holder = this.dialog.querySelector(".views");
    const at = holder.querySelector(".frame input") && holder.querySelector(".frame input").value;
    holder.replaceChildren(...views);
    holder.classList.toggle("two", views.length > 1);
    const slider = holder.querySelector(".frame input");
    if (slider && at) { slider.value = at; slider.dispatchEvent(new Event("input")); }
  },

  setMode(mode) {
    const button = this.dialog.querySelector(`input[name="mode"][value="${mode}"]`);
    if (button) { button.checked = true; this.mode = mode; this.redraw(); }
  },

  toggle(kind) {
    const box = this.dialog.querySelector(`input[name="kind"][value="${kind}"]`);
    if (box) box.click();
  },

  tools() {
    const { small } = this;
    const chip = (type, name, value, text, checked, change) => make("label", {}, make("input", { type, name, value, checked, onchange: change }), make("span", { text }));
    const modes = [["slider", "Slider"], ["side", "Side by side"], ["original", "Original"], ["difference", "Difference"]];
    const kinds = [["mask", "Mask", small.mask], ["kernel", "Kernel", Object.keys(small.kernels).length], ["attention", this.entry.edit.word ? "Attention" : "Prompt map", small.attention]].filter(([, , there]) => there);
    const bar = make("div", { class: "tools" });
    if (this.entry.edit.outcome === "edited" || this.entry.edit.variants.length)
      bar.append(make("fieldset", { class: "chips" }, make("legend", { class: "sr", text: "View" }),
        modes.map(([value, text]) => chip("radio", "mode", value, text, value === this.mode, () => { this.mode = value; this.redraw(); }))));
    if (kinds.length)
      bar.append(make("fieldset", { class: "chips" }, make("legend", { class: "sr", text: "Shown over the picture" }),
        kinds.map(([value, text]) => chip("checkbox", "kind", value, text, this.kinds.has(value), (event) => {
          if (event.target.checked) this.kinds.add(value); else this.kinds.delete(value);
          this.redraw();
        }))));
    return bar;
  },

  strip() {
    const { variants } = this.entry.edit;
    if (variants.length < 2) return null;
    const choose = (variant) => () => { this.variant = variant; this.redraw(); this.describe(); };
    const tile = (variant, source, heading, text) => make("label", {},
      make("input", { type: "radio", name: "variant", checked: variant === this.variant, onchange: choose(variant) }),
      make("img", { src: source, alt: "", decoding: "async", loading: "lazy" }), make("b", { text: heading }), text ? make("span", { text: ` ${text}` }) : null);
    const scores = (variant) => data.metrics.filter((metric) => ["background_psnr", "alignment", "clip_edited"].includes(metric.name) && typeof variant.metrics[metric.name] === "number")
      .map((metric) => metricText(metric, variant.metrics[metric.name])).join(" · ");
    return make("fieldset", { class: "strip" }, make("legend", { class: "sr", text: "Variants" }),
      this.entry.edit.link ? tile(null, this.small.after, "Result", "at full size") : null,
      variants.map((variant) => tile(variant, this.small.variants[variant.name], variant.label || variant.name, [variant.chosen ? "chosen" : "", scores(variant)].filter(Boolean).join(" · "))));
  },

  draw() {
    const { photo, edit } = this.entry;
    const position = shown.indexOf(this.entry);
    const icon = (label, path, action) => make("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick: action },
      draw("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, draw("path", { d: path, fill: "none", stroke: "currentColor", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round" })));
    const focused = this.dialog.contains(document.activeElement) ? selectorOf(document.activeElement) : null;
    this.dialog.replaceChildren(
      make("header", { class: "head" },
        make("h2", { id: "detail-title" }, make("bdi", { text: photo.name }), make("small", {}, " · ", make("bdi", { text: edit.name }), position < 0 ? "" : ` · ${position + 1} of ${shown.length}`)),
        icon("Previous (k)", "M15 5l-7 7 7 7", () => this.step(-1)),
        icon("Next (j)", "M9 5l7 7-7 7", () => this.step(1)),
        icon("Close (Esc)", "M6 6l12 12M18 6L6 18", () => this.dialog.close())),
      make("div", { class: "stage" }, make("div", { class: "views" }), this.tools(), this.strip() || ""),
      make("div", { class: "panel", tabindex: "-1" }));
    this.redraw();
    this.describe();
    // The focused control was replaced. Focus its counterpart, or keyboard navigation would restart.
    const again = focused && this.dialog.querySelector(focused);
    if (again) again.focus();
  },

  describe() {
    const { photo, edit } = this.entry;
    const variant = this.variant || this.entry.chosen;
    const section = (title, ...content) => make("section", {}, make("h3", { text: title }), ...content);
    const parts = [];
    if (edit.reason) parts.push(make("section", {}, make("p", { class: "reason", dir: "auto", text: edit.reason })));
    parts.push(make("section", {}, make("dl", { class: "words" },
      make("div", {}, make("dt", { text: "The photograph shows" }), make("dd", {}, prompt(photo.source, "old", edit.prompt || ""))),
      make("div", {}, make("dt", { text: "The edit should show" }), make("dd", {}, prompt(edit.prompt, "new", photo.source || ""))),
      make("div", {}, make("dt", { text: "Mask" }), make("dd", { text: edit.word ? `where “${edit.word}” is` : edit.mask === "none" ? "none, everything may change" : MASKS[edit.mask] })))));
    if (edit.why) parts.push(section("Why this variant", make("p", { text: edit.why })));
    if (photo.warnings.length) parts.push(section("Warnings", make("ul", { class: "files" }, photo.warnings.map((line) => make("li", { text: line })))));
    if (variant && data.metrics.length) {
      const rows = data.metrics.filter((metric) => metric.name in variant.metrics || metric.name in variant.missing).map((metric) => {
        const value = variant.metrics[metric.name];
        const there = typeof value === "number";
        return make("tr", {}, make("th", { scope: "row", title: metric.about }, `${metric.label} `, make("span", { "aria-label": metric.higher ? "higher is better" : "lower is better", text: metric.higher ? "↑" : "↓" }),
          there || !variant.missing[metric.name] ? null : make("span", { class: "missing", text: variant.missing[metric.name] })), make("td", { text: there ? metricText(metric, value) : "–" }));
      });
      if (rows.length) parts.push(section("Metrics", make("table", {}, make("tbody", {}, rows))));
    }
    if (photo.curves.length) parts.push(section("Training losses", ...photo.curves.map(curve)));
    const stages = mergeStages([...photo.stages, ...edit.stages]);
    if (stages.length) parts.push(section("Time and memory", times(stages)));
    if (variant) parts.push(settingsTable(`Settings of ${variant.label || "this picture"}`, variant.settings));
    parts.push(settingsTable("All settings", { ...data.settings, ...photo.settings, ...edit.settings }));
    const links = [["Photograph", photo.link], edit.link ? ["Result", edit.link] : null, variant ? ["At the model’s size", variant.link] : null, ...edit.files].filter(Boolean);
    parts.push(section("Open", make("ul", { class: "files" }, links.map(([text, href]) => make("li", {}, make("a", { href, target: "_blank", rel: "noopener", text }))))));
    this.dialog.querySelector(".panel").replaceChildren(...parts);
  },
};

/** Selector of the same control after a redraw; null if the control is specific to this edit. */
function selectorOf(control) {
  if (control.matches("button.icon")) return `button[aria-label="${control.getAttribute("aria-label")}"]`;
  if (control.matches('[name="mode"], [name="kind"]')) return `input[name="${control.name}"][value="${control.value}"]`;
  return null;
}

/** A loss curve: a faint line for the points and a strong line for their running mean. */
function curve({ name, points }) {
  const [width, height, left, low] = [340, 120, 36, 16];
  const first = points[0][0], last = points.at(-1)[0];
  const losses = points.map(([, loss]) => loss).filter(Number.isFinite);
  const least = Math.min(...losses), most = Math.max(...losses);
  const x = (iteration) => left + ((iteration - first) / (last - first || 1)) * (width - left - 6);
  const y = (loss) => 6 + (1 - (loss - least) / (most - least || 1)) * (height - low - 10);
  const path = (values) => values.map(([iteration, loss], index) => `${index ? "L" : "M"}${x(iteration).toFixed(1)} ${y(loss).toFixed(1)}`).join("");
  let mean = points[0][1];
  const smooth = points.map(([iteration, loss]) => [iteration, (mean += (loss - mean) * 0.25)]);
  const text = (value, at, up, anchor) => { const label = draw("text", { x: at, y: up, "text-anchor": anchor }); label.textContent = value; return label; };
  const description = `${name}: loss ${points[0][1].toPrecision(3)} at iteration ${first}, ${points.at(-1)[1].toPrecision(3)} at iteration ${last}`;
  return make("figure", { class: "curve" }, make("p", { text: name }),
    draw("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": description },
      draw("path", { class: "axis", d: `M${left} 4V${height - low}H${width - 4}`, fill: "none" }),
      text(most.toPrecision(2), left - 5, 12, "end"), text(least.toPrecision(2), left - 5, height - low, "end"),
      text(first, left, height - 3, "start"), text(`iteration ${last}`, width - 6, height - 3, "end"),
      draw("path", { class: "raw", d: path(points) }), draw("path", { class: "smooth", d: path(smooth) })));
}

/** Merge stages that have the same name. */
function mergeStages(stages) {
  const most = (one, other) => (one === null ? other : other === null ? one : Math.max(one, other));
  const found = new Map();
  for (const stage of stages) {
    const sum = found.get(stage.name);
    found.set(stage.name, sum ? { ...sum, seconds: sum.seconds + stage.seconds, memory: most(sum.memory, stage.memory), card: most(sum.card, stage.card) } : stage);
  }
  return [...found.values()];
}

function times(stages) {
  const longest = Math.max(...stages.map((stage) => stage.seconds));
  const card = stages.some((stage) => stage.card !== null);
  return make("table", {},
    make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "Stage" }), ...["Time", "Memory", ...(card ? ["GPU"] : [])].map((text) => make("th", { scope: "col", class: "number", text })))),
    make("tbody", {}, stages.map((stage) => {
      const bar = make("i"); bar.style.width = `${(stage.seconds / (longest || 1)) * 100}%`;
      return make("tr", {}, make("th", { scope: "row" }, stage.name, make("span", { class: "meter", "aria-hidden": "true" }, bar)),
        make("td", { text: duration(stage.seconds) }), make("td", { text: stage.memory === null ? "–" : bytes(stage.memory) }),
        card ? make("td", { text: stage.card === null ? "–" : bytes(stage.card) }) : null);
    })));
}

function settingsTable(title, settings) {
  const flat = (value, key = "") => (value !== null && typeof value === "object" && !Array.isArray(value)
    ? Object.entries(value).flatMap(([inner, each]) => flat(each, key ? `${key}.${inner}` : inner)) : [[key, value]]);
  return make("details", {}, make("summary", { text: title }), make("table", { class: "settings" }, make("tbody", {},
    flat(settings).map(([key, value]) => make("tr", {}, make("th", { scope: "row", text: key }), make("td", { dir: "auto", text: typeof value === "string" ? value : JSON.stringify(value) }))))));
}
