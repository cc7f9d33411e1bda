// Keys that press what stands on the page, each reported with what it was pressed for. Until the page has answered one (`turn`
// counts), no other is taken: nothing is decided unseen. Streamlit would take R for itself.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  if (root.turn !== data.turn) root.waiting = false;
  Object.assign(root, { keys: data.keys, turn: data.turn, send: setTriggerValue });
  root.dataset.of = data.of;
  if (root.listening) return undefined;
  const press = (event) => {
    const other = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.repeat;
    if (other || !root.keys.includes(event.key) || dom.typed(event)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (root.waiting) return;
    root.waiting = true;
    root.send("pressed", { key: event.key, of: root.dataset.of });
  };
  root.listening = true;
  window.addEventListener("keydown", press, true);
  return () => {
    root.listening = false;
    window.removeEventListener("keydown", press, true);
  };
}
