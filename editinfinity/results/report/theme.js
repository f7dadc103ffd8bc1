// The choice between light and dark colours, remembered by the browser.

const THEMES = ["auto", "light", "dark"];
const KEY = "theme";

/** @param {HTMLButtonElement} button goes on to the next choice */
export function offerThemes(button) {
  let theme = remembered();
  apply(button, theme);
  button.addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const order = dark ? THEMES : ["auto", "dark", "light"]; // the first click changes the colours
    theme = order[(order.indexOf(theme) + 1) % order.length];
    apply(button, theme);
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // Without storage, it is not remembered.
    }
  });
}

/** @param {HTMLButtonElement} button @param {string} theme */
function apply(button, theme) {
  const { dataset } = document.documentElement;
  if (theme === "auto") delete dataset.theme;
  else dataset.theme = theme;
  button.setAttribute("aria-label", `Colours: ${theme === "auto" ? "as in the system" : theme}`);
}

function remembered() {
  try {
    const theme = localStorage.getItem(KEY);
    return theme && THEMES.includes(theme) ? theme : "auto";
  } catch {
    return "auto";
  }
}
