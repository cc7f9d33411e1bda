// A picture of which a part can be blanked: by dragging with mouse, finger or pen, or by keys. A box is (left, top, width,
// height) in pixels of the model's input, and is filled with the mean of the pixels around it, as the model would see it.
const RIM = 2, PATIENCE = 3000;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// The mean colour around a box, of the picture as the model reads it.
function around(img, { width, height }, [left, top, wide, tall]) {
  const canvas = dom.make("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const scale = Math.max(width / img.naturalWidth, height / img.naturalHeight);
  const w = img.naturalWidth * scale, h = img.naturalHeight * scale;
  context.drawImage(img, (width - w) / 2, (height - h) / 2, w, h);
  const sums = [0, 0, 0];
  let count = 0;
  const x0 = Math.max(0, left - RIM), y0 = Math.max(0, top - RIM);
  const x1 = Math.min(width, left + wide + RIM), y1 = Math.min(height, top + tall + RIM);
  const { data } = context.getImageData(x0, y0, x1 - x0, y1 - y0);
  const inside = (x, y) => x >= left && x < left + wide && y >= top && y < top + tall;
  for (let y = y0, at = 0; y < y1; y++) for (let x = x0; x < x1; x++, at += 4) {
    if (inside(x, y)) continue;
    count += 1;
    for (const channel of [0, 1, 2]) sums[channel] += data[at + channel];
  }
  return count ? `rgb(${sums.map((sum) => Math.round(sum / count)).join(" ")})` : "rgb(128 128 128)";
}

function show(now) {
  const { blank, data, box, said, img } = now;
  blank.hidden = !box;
  now.clear.disabled = !box;
  said.textContent = box ? `Blank: left ${box[0]}, top ${box[1]}, ${box[2]} by ${box[3]} pixels` : data.hint;
  if (!box) return;
  const [left, top, wide, tall] = box;
  const place = { left: left / data.width, top: top / data.height, width: wide / data.width, height: tall / data.height };
  for (const [name, share] of Object.entries(place)) blank.style[name] = `${100 * share}%`;
  if (img.complete && img.naturalWidth) blank.style.background = around(img, data, box);
}

// What is drawn is asked about at once, and while it is being drawn as soon as the last answer is there.
function tell(now, final) {
  show(now);
  if (!final && now.waiting) return;
  now.waiting = true;
  now.asked(now.box ? now.box.join(",") : "");
}

function dragging(now) {
  const { frame } = now;
  const at = (event) => {
    const { width, height } = now.data, box = frame.getBoundingClientRect();
    return [
      clamp(Math.floor(((event.clientX - box.left) * width) / box.width), 0, width - 1),
      clamp(Math.floor(((event.clientY - box.top) * height) / box.height), 0, height - 1),
    ];
  };
  const between = ([x0, y0], [x1, y1]) =>
    [Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0) + 1, Math.abs(y1 - y0) + 1];
  frame.onpointerdown = (event) => {
    if (event.button) return;
    event.preventDefault();
    frame.focus();
    frame.setPointerCapture(event.pointerId);
    now.from = at(event);
    now.before = now.box;
  };
  frame.onpointermove = (event) => {
    if (!now.from) return;
    now.box = between(now.from, at(event));
    tell(now, false);
  };
  frame.onpointerup = (event) => {
    if (!now.from) return;
    now.box = between(now.from, at(event));
    now.from = null;
    tell(now, true);
  };
  frame.onpointercancel = () => {
    now.from = null;
    now.box = now.before;
    tell(now, true);
  };
}

// Arrows move the box by a step, with Shift they change its size; the first of them puts one in the middle.
function keys(now) {
  now.frame.onkeydown = (event) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const { width, height } = now.data, step = Math.max(1, Math.round(width / 28));
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (by) {
      const quarter = (side) => Math.max(1, Math.round(side / 4));
      const [left, top, wide, tall] = now.box ?? [0, 0, quarter(width), quarter(height)];
      const x = by[0] * step, y = by[1] * step;
      if (!now.box) now.box = [(width - wide) >> 1, (height - tall) >> 1, wide, tall];
      else if (event.shiftKey) now.box = [left, top, clamp(wide + x, 1, width - left), clamp(tall + y, 1, height - top)];
      else now.box = [clamp(left + x, 0, width - wide), clamp(top + y, 0, height - tall), wide, tall];
    } else if ((event.key === "Delete" || event.key === "Backspace" || event.key === "Escape") && now.box) now.box = null;
    else return;
    event.preventDefault();
    event.stopPropagation();
    tell(now, true);
  };
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const held = root.now?.from ? root.now : null;
  if (held && held.data.image === data.image) {
    // The answer to a box that is still being drawn.
    held.waiting = false;
    return;
  }
  const frame = heated(data.image, data.alt, data.heat), focused = root.querySelector(".heated:focus") !== null;
  frame.tabIndex = 0;
  frame.setAttribute("role", "group");
  frame.setAttribute("aria-label", `${data.alt}. ${data.keys}`);
  frame.style.aspectRatio = `${data.width} / ${data.height}`;
  const blank = dom.make("span", "blank"), said = dom.make("p", "said");
  said.setAttribute("aria-live", "polite");
  // An answer to an earlier question does not take back what was drawn since.
  if (root.asked?.box === (data.box ?? []).join(",") || Date.now() - root.asked?.at > PATIENCE) root.asked = null;
  const box = root.asked ? root.asked.box.split(",").filter(Boolean).map(Number) : data.box ?? [];
  const now = {
    data, frame, blank, said, img: frame.querySelector("img"), box: box.length ? box : null, from: null, waiting: false,
    asked(box) {
      root.asked = { box, at: Date.now() };
      setTriggerValue("boxed", box);
    },
  };
  now.clear = dom.button("Undo", () => { now.box = null; tell(now, true); }, "more");
  now.img.onload = () => show(now);
  now.img.draggable = false;
  frame.append(blank);
  dragging(now);
  keys(now);
  const line = dom.make("div", "below");
  line.append(said, now.clear);
  root.replaceChildren(frame, line);
  root.now = now;
  show(now);
  if (focused) frame.focus({ preventScroll: true });
}
