// The points of a map: fetched once a run, and of many those that are drawn. Stands before the map's own script.
const MOST = 20000; // points that are drawn at once: what a browser without a graphics card still moves smoothly
const fetched = new Map(); // address -> promise of the points

// Little-endian, one after the other: x and y (float32), labels (int32), ids (int64, too large for floats; none where they
// are 0, 1, 2 ...).
function pointsAt(address, count) {
  if (!fetched.has(address)) {
    const loading = fetch(address).then((answer) => {
      if (!answer.ok) throw new Error(address);
      return answer.arrayBuffer();
    }).then((buffer) => ({
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

const FEW = 0.01; // part of the points at either end that may lie outside, if they lie far out
const FAR = 0.2; // of the others' spread

// The rectangle that is shown first, with a margin: [[left, right], [bottom, top]]. It holds all points but a few that lie
// far out, which would leave the others little room.
function bounds(m) {
  return [m.x, m.y].map((along) => {
    const sorted = Float32Array.from(sampled(along)).sort(), last = sorted.length - 1;
    if (last < 0) return [-1, 1];
    const [first, end] = [FEW, 1 - FEW].map((part) => sorted[Math.round(part * last)]);
    const far = FAR * (end - first);
    const low = Math.max(sorted[0], first - far), high = Math.min(sorted[last], end + far);
    const margin = 0.04 * (high - low) || 1;
    return [low - margin, high + margin];
  });
}

function sampled(along) {
  const step = Math.ceil(along.length / MOST);
  return step === 1 ? along : along.filter((_, i) => i % step === 0);
}

// Places of the points that are drawn in a view (a rectangle as `bounds` gives it): all of them if they are few enough,
// else half as the strongest by |value| and half as an even sample, which is always the same.
function drawnPlaces(m, [[left, right], [bottom, top]], most = MOST) {
  const inside = [];
  for (let i = 0; i < m.x.length; i++) {
    if (m.x[i] >= left && m.x[i] <= right && m.y[i] >= bottom && m.y[i] <= top) inside.push(i);
  }
  if (inside.length <= most) return { drawn: inside, inside: inside.length };
  const cut = m.value.length ? strongest(inside.map((i) => Math.abs(m.value[i])), most / 2) : Infinity;
  const sampled = (most / 2 / inside.length) * 2 ** 32;
  const drawn = inside.filter((i) => Math.abs(m.value[i]) > cut || Math.imul(i + 1, 2654435761) >>> 0 < sampled);
  return { drawn, inside: inside.length };
}

// A size that at most `count` of the sizes are above.
function strongest(sizes, count) {
  return Float32Array.from(sizes).sort()[sizes.length - 1 - Math.floor(count)];
}
