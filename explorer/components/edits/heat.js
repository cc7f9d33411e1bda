// A picture under the colours of its patches: what each does to the prediction. `heat` holds their shares of the largest, in
// hundredths, row by row.
function heated(image, alt, heat) {
  const frame = dom.make("span", "heated"), img = dom.make("img");
  img.src = image;
  img.alt = heat ? `${alt}. ${heat.words}` : alt;
  frame.append(img);
  if (!heat) return frame;
  frame.title = heat.words;
  const fractions = (parts) => parts.map((part) => `${part}fr`).join(" "), sum = (parts) => parts.reduce((a, b) => a + b);
  frame.style.aspectRatio = `${sum(heat.columns)} / ${sum(heat.rows)}`;
  const grid = dom.make("span", "heat");
  grid.setAttribute("aria-hidden", "true");
  grid.style.gridTemplate = `${fractions(heat.rows)} / ${fractions(heat.columns)}`;
  for (const share of heat.shares) {
    const patch = dom.make("i", share > 0 ? "helpful" : "harmful");
    patch.style.setProperty("--weight", Math.abs(share) / 100);
    grid.append(patch);
  }
  frame.append(grid);
  return frame;
}
