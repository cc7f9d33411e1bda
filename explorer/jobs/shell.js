// Stands in the HTML of every page, before Streamlit's own scripts.

// Otherwise the page would look for its server at its own address first, /item/_stcore/health say, and log two errors.
window.__streamlit = { BACKEND_BASE_URL: window.location.origin };

// An act of the visitor is at most one step of the browser's history. Streamlit adds a step whenever it changes the address,
// also when it only puts one that was opened, or gone back to, into its own form: Back would have to be pressed several
// times, and Forward would lead nowhere.
(() => {
  // The address always names the run: Streamlit leaves out what a widget has by default, which is another run elsewhere.
  const named = (address) => {
    const shown = new URL(address ?? window.location.href, window.location.href);
    if (window.__upstreamRun && !shown.searchParams.has("run")) shown.searchParams.set("run", window.__upstreamRun);
    return shown;
  };
  let acted = false;
  for (const act of ["pointerdown", "click", "keydown"]) window.addEventListener(act, () => { acted = true; }, true);
  window.addEventListener("popstate", () => { acted = false; }, true);
  const push = window.history.pushState.bind(window.history), replace = window.history.replaceState.bind(window.history);
  window.history.replaceState = (state, title, address) => replace(state, title, named(address));
  window.history.pushState = (state, title, address) => {
    (acted ? push : replace)(state, title, named(address));
    acted = false;
  };
})();
