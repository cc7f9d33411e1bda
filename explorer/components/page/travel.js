// The links between pages take along what the address says of the choices that all pages know, and are one step in the
// browser's history. Streamlit's own empty the address and add several, so that going back would show another run. And the
// address always names the run: Streamlit leaves out what a widget has by default, which is another run elsewhere.
function named(address) {
  const shown = new URL(address ?? window.location.href, window.location.href);
  if (window.__upstreamRun && !shown.searchParams.has("run")) shown.searchParams.set("run", window.__upstreamRun);
  return shown;
}

function nameAlways() {
  if (window.__upstreamNames) return;
  window.__upstreamNames = true;
  for (const change of ["pushState", "replaceState"]) {
    const own = window.history[change].bind(window.history);
    window.history[change] = (state, title, address) => own(state, title, named(address));
  }
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  root.travel = data;
  nameAlways();
  const shown = new URL(window.location.href);
  // Only when another run is shown: going back, the address is ahead of what is shown.
  if (window.__upstreamRun !== data.run || !shown.searchParams.has("run")) {
    shown.searchParams.set("run", data.run);
    window.history.replaceState(window.history.state, "", shown);
  }
  window.__upstreamRun = data.run;
  if (root.listening) return undefined;
  const go = (event) => {
    const link = event.target.closest?.('[data-testid="stTopNavLink"], [data-testid="stSidebarNavLink"]');
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const here = new URL(window.location.href).searchParams, there = new URL(link.href);
    there.search = new URLSearchParams({ run: root.travel.run });
    for (const key of root.travel.keys) if (here.has(key)) there.searchParams.set(key, here.get(key));
    window.history.pushState(null, "", there);
    window.dispatchEvent(new PopStateEvent("popstate", { state: null }));
  };
  root.listening = true;
  document.addEventListener("click", go, true);
  return () => {
    root.listening = false;
    document.removeEventListener("click", go, true);
  };
}
