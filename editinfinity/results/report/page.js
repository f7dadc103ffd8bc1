// Keyboard shortcuts, colour themes and start-up.

const typing = (target) => target.matches("textarea, input:not([type=range]):not([type=radio]):not([type=checkbox])");

function columns() {
  const tops = shown.map((entry) => cards[entry.index].offsetTop);
  const wrap = tops.findIndex((top) => top !== tops[0]);
  return wrap < 0 ? tops.length : wrap;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  const { key } = event;
  let handled = true;
  if (detail.dialog.open) {
    const arrow = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (key === "j") detail.step(1);
    else if (key === "k") detail.step(-1);
    else if (arrow && !event.target.matches("input")) detail.step(arrow);
    else if ({ 1: "slider", 2: "side", 3: "original", 4: "difference" }[key]) detail.setMode({ 1: "slider", 2: "side", 3: "original", 4: "difference" }[key]);
    else if ({ m: "mask", g: "kernel", a: "attention" }[key]) detail.toggle({ m: "mask", g: "kernel", a: "attention" }[key]);
    else handled = false;
  } else if ($("keys").open) {
    handled = false;
  } else if (key === "/") {
    $("find").focus();
  } else if (key === "?") {
    $("keys").showModal();
  } else if (key.startsWith("Arrow") && (event.target.matches(".open") || event.target === document.body || event.target === gallery)) {
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() }[key];
    const now = shown.findIndex((entry) => cards[entry.index].contains(event.target));
    if (now < 0 && key !== "ArrowRight") handled = false;
    else {
      const next = shown[now + by];
      if (next) cards[next.index].querySelector(".open").focus();
    }
  } else handled = false;
  if (handled) event.preventDefault();
});

detail.dialog.addEventListener("close", () => {
  try { history.replaceState(null, "", location.pathname + location.search); } catch { /* as in detail.js */ }
  if (detail.entry && cards[detail.entry.index].isConnected) cards[detail.entry.index].querySelector(".open").focus();
});
for (const dialog of document.querySelectorAll("dialog.small")) dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
$("help").addEventListener("click", () => $("keys").showModal());

const themes = ["auto", "light", "dark"];
function applyTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").setAttribute("aria-label", `Colours: ${theme === "auto" ? "as in the system" : theme}`);
  try { localStorage.setItem("theme", theme); } catch { /* without storage, the theme is not remembered */ }
}
let theme = "auto";
try { theme = themes.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto"; } catch { /* as above */ }
applyTheme(theme);
$("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const order = dark ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
  theme = order[(order.indexOf(theme) + 1) % 3];
  applyTheme(theme);
});

function openLinked() {
  const linked = entries.find((entry) => `#${entry.id}` === location.hash);
  if (linked && (!detail.dialog.open || detail.entry !== linked)) detail.open(linked);
}
addEventListener("hashchange", openLinked);

if (!entries.length) $("nothing").textContent = "Nothing has been made yet.";
controls();
show();
// Show the pictures that are loaded already, and the others once they have loaded.
for (const entry of shown.slice(0, 12)) if (fill(cards[entry.index])) observer.unobserve(cards[entry.index]);
const visible = [...gallery.querySelectorAll("img")].slice(0, 12);
Promise.allSettled(visible.map((picture) => picture.decode())).then(() => requestAnimationFrame(() => performance.mark("first-view")));
addEventListener("DOMContentLoaded", () => {
  for (const entry of shown) {
    const target = cards[entry.index];
    if (!("filled" in target.dataset)) { observer.unobserve(target); observer.observe(target); }
  }
  openLinked();
  performance.mark("all-there");
});
