"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const WHOLE = [0, 0, 1, 1];
  const MASKS = { user: "drawn by hand", attention: "by a word", none: "none" };
  const OUTCOMES = ["edited", "mapped", "failed", "not made"];

  /* ---- small things ------------------------------------------------------------------------ */

  /** An element: properties (text, class, on…, other attributes) and children. */
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "text") element.textContent = value;
      else if (key === "class") element.className = value;
      else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  }

  function draw(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function duration(seconds) {
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    const whole = Math.round(seconds);
    if (whole < 60) return `${whole} s`;
    const two = (number) => String(number).padStart(2, "0");
    if (whole < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)} min`;
    return `${Math.floor(whole / 3600)}:${two(Math.floor((whole % 3600) / 60))} h`;
  }

  function bytes(number) {
    return number < 1e9 ? `${Math.round(number / 1e6)} MB` : `${(number / 1e9).toFixed(1)} GB`;
  }

  function metricText(metric, value) {
    return `${value.toFixed(metric.digits)}${metric.unit ? ` ${metric.unit}` : ""}`;
  }

  /** What a metric is called where there is little room. */
  const short = (metric) => metric.label.replace(/^Background /, "").replace(/ \(.*/, "");

  const counted = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

  /* ---- what there is to show ---------------------------------------------------------------- */

  const entries = data.cases.flatMap((photo, place) =>
    photo.edits.map((edit, number) => {
      const shared = number === 0 ? photo.stages : [];
      const chosen = edit.variants.find((variant) => variant.chosen) || edit.variants[0] || null;
      return {
        photo, edit, place, number, chosen,
        id: `${encodeURIComponent(photo.name)}/${encodeURIComponent(edit.name)}`,
        seconds: [...shared, ...edit.stages].reduce((sum, stage) => sum + stage.seconds, 0),
        words: `${photo.name} ${edit.name} ${photo.source || ""} ${edit.prompt || ""} ${edit.word || ""} ${edit.reason}`.toLowerCase(),
        ratio: photo.size ? photo.size[0] / photo.size[1] : 4 / 3,
      };
    }),
  );
  entries.forEach((entry, index) => { entry.index = index; });

  const known = new Map();
  /** Pictures of a case: null until the page has come that far. */
  function pictures(place) {
    if (!known.has(place)) {
      const block = $(`p${place}`);
      if (!block) return document.readyState === "loading" ? null : { edits: [] };
      known.set(place, JSON.parse(block.textContent));
    }
    return known.get(place);
  }

  function picturesOf(entry) {
    const ours = pictures(entry.place);
    return ours && { source: ours.source, kernels: {}, variants: {}, ...(ours.edits[entry.number] || {}) };
  }

  /** The words of two prompts, those that differ marked. */
  function compared(before, after) {
    const old = before.split(" "), fresh = after.split(" ");
    if (!before || old.length * fresh.length > 40000) return [[after, "same"]];
    const lengths = Array.from({ length: old.length + 1 }, () => new Uint16Array(fresh.length + 1));
    for (let i = old.length - 1; i >= 0; i -= 1)
      for (let j = fresh.length - 1; j >= 0; j -= 1)
        lengths[i][j] = old[i] === fresh[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    const parts = [];
    const add = (word, kind) => {
      const last = parts.at(-1);
      if (last && last[1] === kind) last[0] += ` ${word}`;
      else parts.push([word, kind]);
    };
    let i = 0, j = 0;
    while (i < old.length || j < fresh.length) {
      if (i < old.length && j < fresh.length && old[i] === fresh[j]) { add(old[i], "same"); i += 1; j += 1; }
      else if (i < old.length && (j === fresh.length || lengths[i + 1][j] >= lengths[i][j + 1])) { add(old[i], "old"); i += 1; }
      else { add(fresh[j], "new"); j += 1; }
    }
    return parts;
  }

  /** A prompt as a paragraph; against another one, with the words that differ marked. */
  function prompt(text, side = null, other = "") {
    if (text === null) return make("p", { class: "prompt muted", text: "the prompt cannot be read" });
    const paragraph = make("p", { class: "prompt", dir: "auto" });
    if (!text) { paragraph.textContent = "no prompt"; paragraph.classList.add("muted"); return paragraph; }
    const parts = side === "new" ? compared(other, text) : side === "old" ? compared(text, other) : [[text, "same"]];
    for (const [words, kind] of parts) {
      if (kind !== "same" && kind !== side) continue;
      if (paragraph.childNodes.length) paragraph.append(" ");
      paragraph.append(kind === "same" ? words : make(kind === "new" ? "mark" : "s", { text: words }));
    }
    return paragraph;
  }

  /* ---- one look at a picture ---------------------------------------------------------------- */

  /** An image of one part of the photograph, in a frame that shows another. */
  function image(source, part, shown, alternative, full = null) {
    const picture = make("img", { alt: alternative, decoding: "async", draggable: "false" });
    if (source) picture.src = source;
    picture.style.left = `${((part[0] - shown[0]) / shown[2]) * 100}%`;
    picture.style.top = `${((part[1] - shown[1]) / shown[3]) * 100}%`;
    picture.style.width = `${(part[2] / shown[2]) * 100}%`;
    picture.style.height = `${(part[3] / shown[3]) * 100}%`;
    if (full) {
      // The small picture stays where the large one cannot be had, or is of a kind browsers do not show.
      const large = new Image();
      large.decoding = "async";
      large.addEventListener("load", () => { picture.src = large.src; });
      large.src = full;
      if (!source) picture.src = full;
    }
    return picture;
  }

  /**
   * A frame with layers.
   * shown: the part of the photograph in the frame; before, after: {source, part, full}; over: [{kind, source, part}].
   */
  function frame({ shown = WHOLE, before, after = null, over = [], name, tags = true }) {
    const holder = make("div", { class: "frame" });
    holder.append(make("div", { class: "layer before" }, image(before.source, before.part, shown, `${name}: the photograph`, before.full)));
    if (after) holder.append(make("div", { class: "layer after" }, image(after.source, after.part, shown, `${name}: the edit`, after.full)));
    for (const layer of over)
      holder.append(make("div", { class: `layer over ${layer.kind}` }, image(layer.source, layer.part, shown, "")));
    if (after) {
      const slider = make("input", {
        type: "range", min: 0, max: 100, step: 1, value: 50,
        "aria-label": `${name}: how much of the photograph is shown, the rest is the edit`,
      });
      const move = () => {
        holder.style.setProperty("--at", `${slider.value}%`);
        slider.setAttribute("aria-valuetext", `${slider.value} % photograph`);
      };
      slider.addEventListener("input", move);
      move();
      holder.append(make("div", { class: "rule", "aria-hidden": "true" }), slider);
      if (tags) holder.append(make("span", { class: "tag left", "aria-hidden": "true", text: "before" }), make("span", { class: "tag right", "aria-hidden": "true", text: "after" }));
    }
    return holder;
  }

  /** What lies over the pictures of an edit; kinds that do not exist are left out. */
  function overlays(entry, small, kinds, smoothing) {
    const layers = [];
    const kernel = small.kernels[smoothing] || Object.values(small.kernels)[0];
    if (kinds.has("mask") && small.mask) layers.push({ kind: "mask", source: small.mask, part: WHOLE });
    if (kinds.has("kernel") && kernel) layers.push({ kind: "kernel", source: kernel, part: entry.edit.box });
    if (kinds.has("attention") && small.attention) layers.push({ kind: "attention", source: small.attention, part: entry.edit.box });
    return layers;
  }

  /* ---- the gallery -------------------------------------------------------------------------- */

  const gallery = $("gallery");
  const state = { find: "", outcome: "all", mask: "all", sort: "order", masks: false };
  const ratios = entries.map((entry) => entry.ratio).sort((a, b) => a - b);
  const usual = Math.min(1.5, Math.max(0.8, ratios[Math.floor(ratios.length / 2)] || 4 / 3));

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
      const wide = entry.ratio > usual;
      view.style.width = wide ? "100%" : `${(entry.ratio / usual) * 100}%`;
      view.style.height = wide ? `${(usual / entry.ratio) * 100}%` : "100%";
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
    if (edit.variants.length > 1) line.append(make("span", { text: counted(edit.variants.length, "variant", "variants") }));
    for (const metric of data.metrics) {
      const value = entry.chosen && entry.chosen.metrics[metric.name];
      if (["background_psnr", "clip_edited", "alignment"].includes(metric.name) && typeof value === "number")
        line.append(make("span", { text: `${short(metric)} ${metricText(metric, value)}`, title: `${metric.label}: ${metric.about}` }));
    }
    if (entry.seconds) line.append(make("span", { text: duration(entry.seconds), title: "of work" }));
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
    holder.firstElementChild.style.aspectRatio = usual;
    return holder;
  }

  const cards = entries.map(card);
  const near = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen)
      if (isIntersecting && fill(target)) near.unobserve(target);
  }, { rootMargin: "900px" });

  const metricsByName = Object.fromEntries(data.metrics.map((metric) => [metric.name, metric]));

  /** Orders two entries; those without a value come last. */
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
      words.every((word) => entry.words.includes(word)));
    shown = [...shown].sort(order(state.sort));
    gallery.replaceChildren(...shown.map((entry) => cards[entry.index]));
    $("nothing").hidden = shown.length > 0;
    $("count").textContent = `${counted(shown.length, "edit", "edits")} shown`;
    for (const entry of shown) if (!("filled" in cards[entry.index].dataset)) near.observe(cards[entry.index]);
  }

  function controls() {
    const many = (key) => entries.filter((entry) => entry.edit.outcome === key).length;
    for (const key of ["all", ...OUTCOMES.filter(many)]) {
      const label = key === "all" ? `All ${entries.length}` : `${key[0].toUpperCase()}${key.slice(1)} ${many(key)}`;
      $("outcomes").append(make("label", {},
        make("input", { type: "radio", name: "outcome", value: key, checked: key === "all", onchange: () => { state.outcome = key; show(); } }),
        make("span", { text: label })));
    }
    const found = new Set(entries.map((entry) => entry.edit.mask));
    $("masks").append(make("option", { value: "all", text: "any" }), ...Object.keys(MASKS).filter((key) => found.has(key)).map((key) => make("option", { value: key, text: MASKS[key] })));
    $("masks").addEventListener("change", (event) => { state.mask = event.target.value; show(); });
    const sorts = [["order", "as they ran"], ["name", "name"], ["faults", "faults first"], ["newest", "newest first"], ["slowest", "slowest first"],
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
    const good = many("edited") + many("mapped");
    $("summary").textContent = [
      counted(data.cases.length, "photograph", "photographs"),
      `${good} of ${counted(entries.length, "edit", "edits")} made`,
      seconds ? `${duration(seconds)} of work` : null,
      `model ${data.settings.model}`,
      new Date(data.made * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }),
    ].filter(Boolean).join(" · ");
  }

  /* ---- one edit in full --------------------------------------------------------------------- */

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
      try { history.replaceState(null, "", `#${entry.id}`); } catch { /* a page shown where it may not */ }
    },

    step(by) {
      const place = shown.indexOf(this.entry);
      const next = shown[(place + by + shown.length) % shown.length];
      if (next) this.open(next);
    },

    /** The frames of the current way of looking. */
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
      const kinds = [["mask", "Mask", small.mask], ["kernel", "Kernel", Object.keys(small.kernels).length], ["attention", "Attention", small.attention]].filter(([, , there]) => there);
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
      const place = shown.indexOf(this.entry);
      const icon = (label, path, action) => make("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick: action },
        draw("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, draw("path", { d: path, fill: "none", stroke: "currentColor", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round" })));
      this.dialog.replaceChildren(
        make("header", { class: "head" },
          make("h2", { id: "detail-title" }, make("bdi", { text: photo.name }), make("small", {}, " · ", make("bdi", { text: edit.name }), place < 0 ? "" : ` · ${place + 1} of ${shown.length}`)),
          icon("Previous (k)", "M15 5l-7 7 7 7", () => this.step(-1)),
          icon("Next (j)", "M9 5l7 7-7 7", () => this.step(1)),
          icon("Close (Esc)", "M6 6l12 12M18 6L6 18", () => this.dialog.close())),
        make("div", { class: "stage" }, make("div", { class: "views" }), this.tools(), this.strip() || ""),
        make("div", { class: "panel", tabindex: "-1" }));
      this.redraw();
      this.describe();
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
        make("div", {}, make("dt", { text: "Mask" }), make("dd", { text: edit.word ? `where “${edit.word}” is` : edit.mask === "user" ? "drawn by hand" : "none, everything may change" })))));
      if (edit.why) parts.push(section("Why this variant", make("p", { text: edit.why })));
      if (photo.warnings.length) parts.push(section("Worth a look", make("ul", { class: "files" }, photo.warnings.map((line) => make("li", { text: line })))));
      if (variant && data.metrics.length) {
        const rows = data.metrics.filter((metric) => metric.name in variant.metrics || metric.name in variant.missing).map((metric) => {
          const value = variant.metrics[metric.name];
          const there = typeof value === "number";
          return make("tr", {}, make("th", { scope: "row", title: metric.about }, `${metric.label} `, make("span", { "aria-label": metric.higher ? "more is better" : "less is better", text: metric.higher ? "↑" : "↓" }),
            there || !variant.missing[metric.name] ? null : make("span", { class: "missing", text: variant.missing[metric.name] })), make("td", { text: there ? metricText(metric, value) : "–" }));
        });
        if (rows.length) parts.push(section("Metrics", make("table", {}, make("tbody", {}, rows))));
      }
      if (photo.curves.length) parts.push(section("Training losses", ...photo.curves.map(curve)));
      const stages = together([...photo.stages, ...edit.stages]);
      if (stages.length) parts.push(section("Time and memory", times(stages)));
      if (variant) parts.push(facets(`What made ${variant.label || "this picture"}`, variant.settings));
      parts.push(facets("All settings", { ...data.settings, ...photo.settings }));
      const links = [["Photograph", photo.link], edit.link ? ["Result", edit.link] : null, variant ? ["At the model’s size", variant.link] : null, ...edit.files].filter(Boolean);
      parts.push(section("Open", make("ul", { class: "files" }, links.map(([text, href]) => make("li", {}, make("a", { href, target: "_blank", rel: "noopener", text }))))));
      this.dialog.querySelector(".panel").replaceChildren(...parts);
    },
  };

  /** A loss curve: every iteration faintly, their running mean strongly. */
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
    const said = `${name}: loss ${points[0][1].toPrecision(3)} at iteration ${first}, ${points.at(-1)[1].toPrecision(3)} at iteration ${last}`;
    return make("figure", { class: "curve" }, make("p", { text: name }),
      draw("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": said },
        draw("path", { class: "axis", d: `M${left} 4V${height - low}H${width - 4}`, fill: "none" }),
        text(most.toPrecision(2), left - 5, 12, "end"), text(least.toPrecision(2), left - 5, height - low, "end"),
        text(first, left, height - 3, "start"), text(`iteration ${last}`, width - 6, height - 3, "end"),
        draw("path", { class: "raw", d: path(points) }), draw("path", { class: "smooth", d: path(smooth) })));
  }

  /** Stages of one name as one. */
  function together(stages) {
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

  function facets(title, settings) {
    const flat = (value, key = "") => (value !== null && typeof value === "object" && !Array.isArray(value)
      ? Object.entries(value).flatMap(([inner, each]) => flat(each, key ? `${key}.${inner}` : inner)) : [[key, value]]);
    return make("details", {}, make("summary", { text: title }), make("table", { class: "settings" }, make("tbody", {},
      flat(settings).map(([key, value]) => make("tr", {}, make("th", { scope: "row", text: key }), make("td", { dir: "auto", text: typeof value === "string" ? value : JSON.stringify(value) }))))));
  }

  /* ---- keyboard, colours, beginning ---------------------------------------------------------- */

  const typing = (target) => target.matches("textarea, input:not([type=range]):not([type=radio]):not([type=checkbox])");

  function columns() {
    const tops = shown.map((entry) => cards[entry.index].offsetTop);
    const wrap = tops.findIndex((top) => top !== tops[0]);
    return wrap < 0 ? tops.length : wrap;
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const { key } = event;
    let done = true;
    if (detail.dialog.open) {
      const arrow = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (key === "j") detail.step(1);
      else if (key === "k") detail.step(-1);
      else if (arrow && !event.target.matches("input")) detail.step(arrow);
      else if ({ 1: "slider", 2: "side", 3: "original", 4: "difference" }[key]) detail.setMode({ 1: "slider", 2: "side", 3: "original", 4: "difference" }[key]);
      else if ({ m: "mask", g: "kernel", a: "attention" }[key]) detail.toggle({ m: "mask", g: "kernel", a: "attention" }[key]);
      else done = false;
    } else if ($("keys").open) {
      done = false;
    } else if (key === "/") {
      $("find").focus();
    } else if (key === "?") {
      $("keys").showModal();
    } else if (key.startsWith("Arrow") && (event.target.matches(".open") || event.target === document.body || event.target === gallery)) {
      const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() }[key];
      const now = shown.findIndex((entry) => cards[entry.index].contains(event.target));
      if (now < 0 && key !== "ArrowRight") done = false;
      else {
        const next = shown[now + by];
        if (next) cards[next.index].querySelector(".open").focus();
      }
    } else done = false;
    if (done) event.preventDefault();
  });

  detail.dialog.addEventListener("close", () => {
    try { history.replaceState(null, "", location.pathname + location.search); } catch { /* as above */ }
    if (detail.entry && cards[detail.entry.index].isConnected) cards[detail.entry.index].querySelector(".open").focus();
  });
  for (const dialog of document.querySelectorAll("dialog.small")) dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  $("help").addEventListener("click", () => $("keys").showModal());

  const themes = ["auto", "light", "dark"];
  function colours(theme) {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme").setAttribute("aria-label", `Colours: ${theme === "auto" ? "as the system has them" : theme}`);
    try { localStorage.setItem("theme", theme); } catch { /* nothing is kept then */ }
  }
  let theme = "auto";
  try { theme = themes.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto"; } catch { /* as above */ }
  colours(theme);
  $("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const order = dark ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
    theme = order[(order.indexOf(theme) + 1) % 3];
    colours(theme);
  });

  function openLinked() {
    const wanted = entries.find((entry) => `#${entry.id}` === location.hash);
    if (wanted && (!detail.dialog.open || detail.entry !== wanted)) detail.open(wanted);
  }
  addEventListener("hashchange", openLinked);

  if (!entries.length) $("nothing").textContent = "Nothing has been made yet.";
  controls();
  show();
  // What the page has already brought is shown at once; the rest when it has come.
  for (const entry of shown.slice(0, 12)) if (fill(cards[entry.index])) near.unobserve(cards[entry.index]);
  const visible = [...gallery.querySelectorAll("img")].slice(0, 12);
  Promise.allSettled(visible.map((picture) => picture.decode())).then(() => requestAnimationFrame(() => performance.mark("first-view")));
  addEventListener("DOMContentLoaded", () => {
    for (const entry of shown) {
      const each = cards[entry.index];
      if (!("filled" in each.dataset)) { near.unobserve(each); near.observe(each); }
    }
    openLinked();
    performance.mark("all-there");
  });
})();
