// The points of a map: fetched once a run, and of many those that are drawn. Stands before the map's own script.
const MOST = 20000; // points that are drawn at once: what a browser without a graphics card still moves smoothly
const fetched = new Map(); // address -> promise of the points

// Little-endian, one after the other: x and y (float32), labels (int32), ids (int64, too large for floats; none where they
// are 0, 1, 2 ...).
function pointsAt(address, count) {
  if (!fetched.has(address)) {
    const loading = bytesAt(address).then((buffer) => ({
      x: new Float32Array(buffer, 0, count), y: new Float32Array(buffer, 4 * count, count),
      label: new Int32Array(buffer, 8 * count, count),
      id: buffer.byteLength > 12 * count ? new BigInt64Array(buffer.slice(12 * count)) : null,
    }));
    loading.catch(() => fetched.delete(address));
    fetched.set(address, loading);
  }
  return fetched.get(address);
}

let halves; // all 65,536 numbers of half precision

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, power = (bits >> 10) & 31, rest = bits & 1023;
  return sign * (power ? 2 ** (power - 15) * (1 + rest / 1024) : 2 ** -14 * (rest / 1024));
}

// Base64 of half precision numbers, times `limit`.
function values(text, limit) {
  halves ??= Float32Array.from({ length: 65536 }, (_, bits) => half(bits));
  const packed = atob(text), found = new Float32Array(packed.length / 2);
  // A plain loop: of a million points it takes a third of the time of `from`.
  for (let i = 0; i < found.length; i++) {
    found[i] = halves[packed.charCodeAt(2 * i) | (packed.charCodeAt(2 * i + 1) << 8)] * limit;
  }
  return found;
}

const ENOUGH = 65536; // sizes from which it is told which are the largest
const FEW = 0.02; // part of the points at either end that may lie outside
const WIDE = 2; // if they make the view so many times as wide; a bell curve's do not
const ROOM = 0.15; // of the others' width that is left around them

// The rectangle that is shown first, with a margin: [[left, right], [bottom, top]]. It holds all points but a few that lie
// far out, which would leave the others little room.
function bounds(m) {
  return [m.x, m.y].map((along) => {
    const placed = along.filter((at) => !Number.isNaN(at)); // of some runs the map is of a sample
    const sorted = spread(placed.length, MOST, (i) => placed[i]), last = sorted.length - 1;
    if (last < 0) return [-1, 1];
    const [first, end] = [FEW, 1 - FEW].map((part) => sorted[Math.round(part * last)]);
    let low = sorted[0], high = sorted[last];
    if (high - low > WIDE * (end - first)) {
      const room = ROOM * (end - first);
      low = Math.max(low, first - room);
      high = Math.min(high, end + room);
    }
    const margin = 0.04 * (high - low) || 1;
    return [low - margin, high + margin];
  });
}

// Numbers of `count` things in order, of very many those of an even sample: `of` gives one's number.
function spread(count, most, of) {
  const step = Math.max(1, Math.ceil(count / most)), found = new Float32Array(Math.ceil(count / step));
  for (let at = 0; at < found.length; at++) found[at] = of(at * step);
  return found.sort();
}

// Places of the points that are drawn in a view (a rectangle as `bounds` gives it): all of them if they are few enough,
// else about half as the strongest by |value| and half as an even sample, which is always the same.
function drawnPlaces(m, [[left, right], [bottom, top]], most = MOST) {
  const inside = new Int32Array(m.x.length);
  let count = 0;
  for (let i = 0; i < m.x.length; i++) {
    if (m.x[i] >= left && m.x[i] <= right && m.y[i] >= bottom && m.y[i] <= top) inside[count++] = i;
  }
  if (count <= most) return { drawn: Array.from(inside.subarray(0, count)), inside: count };
  const sizes = spread(m.value.length ? count : 0, ENOUGH, (at) => Math.abs(m.value[inside[at]]));
  const cut = sizes[sizes.length - 1 - Math.floor((most / 2 / count) * sizes.length)] ?? Infinity;
  const part = (most / 2 / count) * 2 ** 32, drawn = [];
  for (let at = 0; at < count; at++) {
    const i = inside[at];
    if (Math.abs(m.value[i]) > cut || Math.imul(i + 1, 2654435761) >>> 0 < part) drawn.push(i);
  }
  return { drawn, inside: count };
}
