// Light or dark. Streamlit hides this choice in its menu and offers no way to make it from a page; it keeps the choice in
// the browser under one name for each page. If another version of it does so elsewhere, the button does nothing harmful.
const NAME = (path) => `stActiveTheme-${path}-v2`;

function dark(element) {
  const [r, g, b] = getComputedStyle(element).getPropertyValue("color").match(/[\d.]+/g).map(Number);
  return r + g + b > 384; // light letters stand on a dark page
}

export default function ({ data, parentElement, setTriggerValue }) {
  // Where the system turns light or dark, Streamlit changes its own colours alone: ours are asked for again.
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const ask = () => setTimeout(() => setTriggerValue("turned", system.matches), 100);
  system.addEventListener("change", ask);
  const root = parentElement.querySelector(".root");
  const other = dark(root) ? "Light" : "Dark";
  const button = dom.button(other === "Dark" ? "☾ Dark" : "☀ Light", () => {
    const here = window.location.pathname;
    const page = data.pages.find((address) => here.endsWith(`/${address}`)) ?? "";
    const base = here.slice(0, here.length - page.length);
    try {
      for (const address of ["", ...data.pages]) localStorage.setItem(NAME(base + address), JSON.stringify(other));
    } catch {
      button.textContent = "Not allowed";
      return;
    }
    window.location.reload();
  });
  button.title = `Show all pages ${other.toLowerCase()}; the page is loaded again as it is`;
  root.replaceChildren(button);
  return () => system.removeEventListener("change", ask);
}
