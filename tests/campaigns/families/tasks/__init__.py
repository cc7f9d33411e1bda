"""Tasks as people set them up: several things at once that other rows have one by one."""

from comparison import Row

from families.tasks import networks, objectives, words

KIND = "Tasks"
RIGHT = {**words.RIGHT, **networks.RIGHT, **objectives.RIGHT}
TOLD = {**objectives.TOLD}
QUICK = {
    "next words: weights, smoothing, padding",
    "two heads, labels missing",
    "attention with two masks, weights returned",
    "bags of words with offsets, equal sizes first",
    "batch norm, then places as words",
    "instance norm, then places as words",
    "boxes and classes",
    "forces of an energy",
    "adaptive softmax",
    "outputs in a dataclass",
    "Cox",
    "outputs (B, 1) minus labels (B,)",
}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in RIGHT.items()]
ROWS += [Row(KIND, name, make, name in QUICK, told) for name, (make, told) in TOLD.items()]
