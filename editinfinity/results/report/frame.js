// A frame that shows a picture: stacked layers and a slider.

/** Create an image of one part of the photograph, placed in a frame that shows another part. */
function image(source, part, shown, alternative, full = null) {
  const picture = make("img", { alt: alternative, decoding: "async", draggable: "false" });
  if (source) picture.src = source;
  picture.style.left = `${((part[0] - shown[0]) / shown[2]) * 100}%`;
  picture.style.top = `${((part[1] - shown[1]) / shown[3]) * 100}%`;
  picture.style.width = `${(part[2] / shown[2]) * 100}%`;
  picture.style.height = `${(part[3] / shown[3]) * 100}%`;
  if (full) {
    // The thumbnail stays if the full picture is missing or its format is not supported.
    const large = new Image();
    large.decoding = "async";
    large.addEventListener("load", () => { picture.src = large.src; });
    large.src = full;
    if (!source) picture.src = full;
  }
  return picture;
}

/**
 * Create a frame with layers.
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

/** Overlay layers of an edit; kinds without a picture are left out. */
function overlays(entry, small, kinds, smoothing) {
  const layers = [];
  const kernel = small.kernels[smoothing] || Object.values(small.kernels)[0];
  if (kinds.has("mask") && small.mask) layers.push({ kind: "mask", source: small.mask, part: WHOLE });
  if (kinds.has("kernel") && kernel) layers.push({ kind: "kernel", source: kernel, part: entry.edit.box });
  if (kinds.has("attention") && small.attention) layers.push({ kind: "attention", source: small.attention, part: entry.edit.box });
  return layers;
}
