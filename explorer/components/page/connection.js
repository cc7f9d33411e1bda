// A server that was started again knows nothing of an open page until the page asks for something: then the page asks at
// once, so that no press of the visitor's is lost on a server that has yet to draw what was pressed.
const state = () => document.querySelector(".stApp")?.dataset.testConnectionState;

export default function ({ parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  root.report = () => setTriggerValue("back", true);
  if (root.watch) return undefined;
  let before = state();
  root.watch = new MutationObserver(() => {
    const now = state();
    if (now === "CONNECTED" && before !== now) root.report();
    before = now;
  });
  root.watch.observe(document.body, { subtree: true, attributeFilter: ["data-test-connection-state"] });
  return () => root.watch.disconnect();
}
