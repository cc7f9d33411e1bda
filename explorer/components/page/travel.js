// The links between pages take along what the address says of the choices that all pages know, and are one step in the
// browser's history. Streamlit's own empty the address and add several, so that going back would show another run. Which run
// the address names at least (explorer/jobs/shell.js) is told here.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  root.travel = data;
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
