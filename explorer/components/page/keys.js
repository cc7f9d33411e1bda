// Keys that press what stands on the page. They are reported with what they were pressed for: who is faster than the page is
// drawn decides about what is seen. Streamlit would take R for itself.
export default function ({ data, parentElement, setTriggerValue }) {
  const press = (event) => {
    const other = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.repeat;
    if (other || !data.keys.includes(event.key) || dom.typed(event)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    setTriggerValue("pressed", { key: event.key, of: data.of });
  };
  window.addEventListener("keydown", press, true);
  return () => window.removeEventListener("keydown", press, true);
}
