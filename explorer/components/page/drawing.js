// A sheet of paper to draw on; what is drawn is sent when the pen is lifted.
const SIDE = 280, PEN = 22;

function blank(context) {
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SIDE, SIDE);
}

function load(canvas, address) {
  const image = new Image();
  image.onload = () => canvas.getContext("2d").drawImage(image, 0, 0, SIDE, SIDE);
  image.src = address;
}

function sheet(root, send) {
  const canvas = dom.make("canvas");
  canvas.width = canvas.height = SIDE;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Sheet to draw on with mouse, finger or pen. Without one, upload a picture or start from a test item.");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  Object.assign(context, { lineWidth: PEN, lineCap: "round", lineJoin: "round" });
  blank(context);
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * SIDE) / box.width, ((event.clientY - box.top) * SIDE) / box.height];
  };
  const before = [];
  let last = null;
  const line = (to) => {
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(...to);
    context.stroke();
    last = to;
  };
  canvas.onpointerdown = (event) => {
    if (last || event.button) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    before.push(context.getImageData(0, 0, SIDE, SIDE));
    if (before.length > 20) before.shift();
    last = at(event);
    line(last);
  };
  canvas.onpointermove = (event) => {
    if (last) for (const each of event.getCoalescedEvents?.() ?? [event]) line(at(each));
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (!last) return;
    last = null;
    send(canvas.toDataURL("image/png"));
  };
  const undo = dom.button("Undo", () => {
    if (!before.length) return;
    context.putImageData(before.pop(), 0, 0);
    send(before.length || root.dataset.start ? canvas.toDataURL("image/png") : "");
  });
  const clear = dom.button("Clear", () => {
    before.push(context.getImageData(0, 0, SIDE, SIDE));
    blank(context);
    send("");
  });
  const tools = dom.make("div", "tools");
  tools.append(undo, clear);
  root.append(canvas, tools);
  return canvas;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  root.send = (address) => setTriggerValue("drawn", address);
  const canvas = root.querySelector("canvas") ?? sheet(root, (address) => root.send(address));
  const start = data.start ?? "";
  if (root.dataset.start === start) return;
  root.dataset.start = start;
  if (start) load(canvas, start);
}
