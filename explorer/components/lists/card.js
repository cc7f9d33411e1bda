// The parts that cards of all lists have: picture, marks, score.
function picture(item) {
  if (!item.image) return [];
  if (item.heat) return [heated(item.image, item.alt, item.heat)];
  const img = dom.make("img");
  img.src = item.image;
  img.alt = item.alt;
  return [img];
}

// Beside the name and not beside the bar: bars of all cards are on one scale, so their tracks are of one length.
function marks(item) {
  const noted = item.noted ? [{ text: "✎", title: `Noted: ${item.noted}` }] : [];
  return [...item.marks, ...noted].map((mark) => {
    const sign = dom.make("span", "mark", mark.text);
    sign.title = mark.title;
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", mark.title);
    return sign;
  });
}

function score(item) {
  const line = dom.make("span", "score"), track = dom.make("span", "track"), bar = dom.make("span", "bar");
  bar.style.width = `${Math.round(1000 * item.width) / 10}%`;
  track.append(bar);
  line.append(track, dom.make("span", "value", item.score));
  return line;
}
