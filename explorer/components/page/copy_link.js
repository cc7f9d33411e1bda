async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without a secure context (a host other than localhost, without TLS) only the old way is left.
    const field = dom.make("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

// Runs are named even where they are the default, so that the link still means the same when another run is added; a page
// that shows a second one says so in its markup.
function address(run) {
  const url = new URL(window.location.href);
  url.searchParams.set("run", run);
  for (const { dataset } of document.querySelectorAll("[data-link]")) url.searchParams.set(dataset.link, dataset.value);
  return url.href;
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  root.dataset.run = data.run;
  if (root.firstChild) return;
  const button = dom.button("Copy link", async () => {
    button.textContent = (await copy(address(root.dataset.run))) ? "Copied ✓" : "Not allowed";
    setTimeout(() => { button.textContent = "Copy link"; }, 1500);
  });
  button.title = "Copies the address of exactly this view";
  root.append(button);
}
