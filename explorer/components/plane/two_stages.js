// A model in two stages, small enough to be trained anew while a point is dragged: numbers only, nothing is drawn here.
//
// Pretraining fits a body W (2 -> HIDDEN, tanh) and a head U to points {x: [x1, x2], y: class}; finetuning fits a new
// head Theta on the body, which stays frozen or moves and is held near W by alpha * ||W' - W||^2. Both objectives are
// means over their points, plus (l2 / 2) * ||trained parameters||^2.
//
// Parameters are flat: for every hidden unit its two weights and its bias, then for every class its HIDDEN weights and
// its bias. Scores are the predicted change of the query's loss, in nats, if a point had been left out (weight 0 instead
// of 1 / m): positive = helpful. Everything is exact: full Hessians, and both stages at their minima.
const HIDDEN = 2, BODY = 3 * HIDDEN, HEAD = HIDDEN + 1;

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const norm = (a) => Math.sqrt(dot(a, a));
const dense = (size) => Array.from({ length: size }, () => new Float64Array(size));
const classesOf = (theta) => (theta.length - BODY) / HEAD;

// Hidden values and class probabilities at x.
function forward(theta, x) {
  const hidden = [], logits = [];
  for (let i = 0; i < HIDDEN; i++) hidden.push(Math.tanh(theta[3 * i] * x[0] + theta[3 * i + 1] * x[1] + theta[3 * i + 2]));
  for (let c = 0; c < classesOf(theta); c++) {
    const at = BODY + HEAD * c;
    logits.push(hidden.reduce((sum, h, i) => sum + theta[at + i] * h, theta[at + HIDDEN]));
  }
  const most = Math.max(...logits), powers = logits.map((z) => Math.exp(z - most));
  const total = powers.reduce((a, b) => a + b, 0);
  return { hidden, p: powers.map((power) => power / total), logTotal: most + Math.log(total), logits };
}

// Loss of one point, in nats.
function lossAt(theta, { x, y }) {
  const { logits, logTotal } = forward(theta, x);
  return logTotal - logits[y];
}

// Derivatives of the logits, a row a class: d logit / d theta.
function jacobian(theta, x, hidden) {
  const inputs = [x[0], x[1], 1];
  return Array.from({ length: classesOf(theta) }, (_, c) => {
    const row = new Float64Array(theta.length), at = BODY + HEAD * c;
    for (let i = 0; i < HIDDEN; i++) {
      const slope = theta[at + i] * (1 - hidden[i] ** 2);
      for (let j = 0; j < 3; j++) row[3 * i + j] = slope * inputs[j];
      row[at + i] = hidden[i];
    }
    row[at + HIDDEN] = 1;
    return row;
  });
}

// Gradient of one point's loss.
function gradientAt(theta, { x, y }) {
  const { hidden, p } = forward(theta, x), gradient = new Float64Array(theta.length);
  jacobian(theta, x, hidden).forEach((row, c) => {
    const rest = p[c] - (c === y);
    for (let a = 0; a < row.length; a++) gradient[a] += rest * row[a];
  });
  return gradient;
}

// Adds weight * Hessian of one point's loss: J' S J of the softmax, and the logits' own curvature.
function addHessian(hessian, theta, { x, y }, weight) {
  const { hidden, p } = forward(theta, x), rows = jacobian(theta, x, hidden), size = theta.length;
  const mean = new Float64Array(size);
  rows.forEach((row, c) => row.forEach((value, a) => { mean[a] += p[c] * value; }));
  for (const [c, row] of rows.entries()) {
    for (let a = 0; a < size; a++) {
      const left = weight * p[c] * (row[a] - mean[a]);
      if (left) for (let b = 0; b < size; b++) hessian[a][b] += left * row[b];
    }
  }
  const inputs = [x[0], x[1], 1];
  for (let c = 0; c < rows.length; c++) {
    const rest = weight * (p[c] - (c === y)), at = BODY + HEAD * c;
    for (let i = 0; i < HIDDEN; i++) {
      const slope = 1 - hidden[i] ** 2, bend = -2 * hidden[i] * slope * theta[at + i] * rest;
      for (let j = 0; j < 3; j++) {
        hessian[at + i][3 * i + j] += rest * slope * inputs[j];
        hessian[3 * i + j][at + i] += rest * slope * inputs[j];
        for (let k = 0; k < 3; k++) hessian[3 * i + j][3 * i + k] += bend * inputs[j] * inputs[k];
      }
    }
  }
}

// A stage: {points, weights, l2, alpha, anchor, first}. Parameters from `first` on are trained; alpha holds the body
// near the anchor's. Infinite alpha is a frozen body, which is then not trained.
function valueOf(stage, theta) {
  let value = 0;
  stage.points.forEach((point, i) => { if (stage.weights[i]) value += stage.weights[i] * lossAt(theta, point); });
  for (let a = stage.first; a < theta.length; a++) value += (stage.l2 / 2) * theta[a] ** 2;
  for (let a = stage.first; a < BODY; a++) value += stage.alpha * (theta[a] - stage.anchor[a]) ** 2;
  return value;
}

function gradientOf(stage, theta) {
  const gradient = new Float64Array(theta.length);
  stage.points.forEach((point, i) => {
    if (stage.weights[i]) gradientAt(theta, point).forEach((value, a) => { gradient[a] += stage.weights[i] * value; });
  });
  for (let a = stage.first; a < theta.length; a++) gradient[a] += stage.l2 * theta[a];
  for (let a = stage.first; a < BODY; a++) gradient[a] += 2 * stage.alpha * (theta[a] - stage.anchor[a]);
  return gradient;
}

// Of all parameters, trained or not: what is frozen enters through the mixed part.
function hessianOf(stage, theta) {
  const hessian = dense(theta.length);
  stage.points.forEach((point, i) => { if (stage.weights[i]) addHessian(hessian, theta, point, stage.weights[i]); });
  for (let a = stage.first; a < theta.length; a++) hessian[a][a] += stage.l2;
  for (let a = stage.first; a < BODY; a++) hessian[a][a] += 2 * stage.alpha;
  return hessian;
}

// Lower triangle L with L L' = the block of `matrix` from `first` on, plus shift on its diagonal; null if not positive.
function cholesky(matrix, first, shift) {
  const size = matrix.length - first, lower = dense(size);
  for (let a = 0; a < size; a++) {
    for (let b = 0; b <= a; b++) {
      let rest = matrix[first + a][first + b] + (a === b ? shift : 0);
      for (let k = 0; k < b; k++) rest -= lower[a][k] * lower[b][k];
      if (a > b) lower[a][b] = rest / lower[b][b];
      else if (rest > 1e-13) lower[a][a] = Math.sqrt(rest);
      else return null;
    }
  }
  return lower;
}

function solved(lower, right) {
  const result = Float64Array.from(right), size = lower.length;
  for (let a = 0; a < size; a++) {
    for (let k = 0; k < a; k++) result[a] -= lower[a][k] * result[k];
    result[a] /= lower[a][a];
  }
  for (let a = size - 1; a >= 0; a--) {
    for (let k = a + 1; k < size; k++) result[a] -= lower[k][a] * result[k];
    result[a] /= lower[a][a];
  }
  return result;
}

const CLOSE = 1e-11;

// The minimum that is reached from `start` by Newton steps; where the curvature is not positive, or a step does not
// lower the objective, steps are shortened by a growing shift.
function minimised(stage, start) {
  let theta = Float64Array.from(start), value = valueOf(stage, theta), shift = 0;
  for (let step = 0; step < 200; step++) {
    const slope = gradientOf(stage, theta).subarray(stage.first), steep = norm(slope);
    if (steep < CLOSE) break;
    const hessian = hessianOf(stage, theta);
    let moved = null;
    while (!moved && shift < 1e6) {
      const lower = cholesky(hessian, stage.first, shift);
      if (lower) {
        const away = solved(lower, slope), next = Float64Array.from(theta);
        for (let a = 0; a < away.length; a++) next[stage.first + a] -= away[a];
        const there = valueOf(stage, next);
        // Next to the minimum the value no longer tells steps apart: there the gradient does.
        if (there < value - 1e-12 || norm(gradientOf(stage, next).subarray(stage.first)) < steep / 2) moved = [next, there];
      }
      if (!moved) shift = Math.max(4 * shift, 1e-4);
    }
    if (!moved) break;
    [theta, value] = moved;
    shift = shift > 1e-4 ? shift / 8 : 0;
  }
  return theta;
}

const even = (points) => points.map(() => 1 / points.length);

function pretraining({ points, l2 }, weights) {
  return { points, weights, l2, alpha: 0, anchor: new Float64Array(BODY), first: 0 };
}

function finetuning({ finetune, l2, alpha }, anchor) {
  const frozen = !Number.isFinite(alpha);
  return { points: finetune, weights: even(finetune), l2, alpha: frozen ? 0 : alpha, anchor, first: frozen ? BODY : 0 };
}

// Both stages, trained as one trains: pretraining from `start.pretrained`, finetuning from the body that it inherits and
// `start.head`. Setting: {points, finetune, query, l2, alpha}. It is a function of the setting alone, however it came about.
function trained(setting, start) {
  const pretrained = minimised(pretraining(setting, even(setting.points)), start.pretrained);
  const from = Float64Array.from([...pretrained.subarray(0, BODY), ...start.head]);
  return { pretrained, finetuned: minimised(finetuning(setting, pretrained), from) };
}

// Both stages trained on from a model's minima, with a weight for every point: to the minima next to them.
function trainedOn(setting, model, weights) {
  const pretrained = minimised(pretraining(setting, weights), model.pretrained);
  const stage = finetuning(setting, pretrained), from = Float64Array.from(model.finetuned);
  if (stage.first) from.set(pretrained.subarray(0, BODY));
  return { pretrained, finetuned: minimised(stage, from) };
}

// The query's gradient pulled back through finetuning to W: what W's change would do once Theta has settled again.
function pulledBack(setting, model) {
  const stage = finetuning(setting, model.pretrained), query = gradientAt(model.finetuned, setting.query);
  const hessian = hessianOf(stage, model.finetuned), lower = cholesky(hessian, stage.first, 0);
  if (!lower) return null;
  const v = solved(lower, query.subarray(stage.first));
  if (!stage.first) return v.subarray(0, BODY).map((value) => 2 * stage.alpha * value);
  return query.subarray(0, BODY).map((value, a) => value - dot(v, hessian[a].subarray(BODY)));
}

// The query pulled back to pretraining and solved there, so that its product with a point's gradient, over m, is the
// point's score; null where a stage does not stand at a minimum with positive curvature.
function solvedQuery(setting, model) {
  const pulled = pulledBack(setting, model), right = new Float64Array(model.pretrained.length);
  const lower = cholesky(hessianOf(pretraining(setting, even(setting.points)), model.pretrained), 0, 0);
  if (!pulled || !lower) return null;
  right.set(pulled);
  return solved(lower, right);
}

// Score of every pretraining point; null where there is no solved query.
function scoresOf(setting, model) {
  const v = solvedQuery(setting, model);
  return v && setting.points.map((point) => dot(v, gradientAt(model.pretrained, point)) / setting.points.length);
}

// What really happens: both stages trained again without the points `left` (a set of places); change of the query's
// loss, in nats. The others keep the weight that they had.
function measuredWithout(setting, model, left) {
  const weights = even(setting.points).map((weight, i) => (left.has(i) ? 0 : weight));
  const again = trainedOn(setting, model, weights);
  return lossAt(again.finetuned, setting.query) - lossAt(model.finetuned, setting.query);
}

// What the points' present labels do to the query's loss beside the labels `before`, in nats: [predicted by their
// gradients, measured by training both stages on from there]; predicted is null where there is no solved query.
function relabelling(setting, before, start) {
  const old = { ...setting, points: setting.points.map(({ x }, i) => ({ x, y: before[i] })) };
  const model = trained(old, start), v = solvedQuery(old, model), slope = (point) => dot(v, gradientAt(model.pretrained, point));
  const predicted = v && setting.points.reduce((sum, point, i) => sum + slope(old.points[i]) - slope(point), 0) / before.length;
  const again = trainedOn(setting, model, even(setting.points));
  return [predicted, lossAt(again.finetuned, setting.query) - lossAt(model.finetuned, setting.query)];
}
