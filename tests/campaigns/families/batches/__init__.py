"""Layouts of examples and batches, and forms of data sets."""

from comparison import Row

from families.batches import containers, uneven

KIND = "Batches and data"
BATCHES = {**containers.BATCHES, **uneven.BATCHES}
TOLD = {**containers.TOLD}
QUICK = {
    "tuples",
    "dicts",
    "dicts by name",
    "named tuples",
    "nested",
    "padded to the longest",
    "graphs",
    "choices, flattened",
    "TensorDataset",
    "ConcatDataset",
    "BatchEncoding",
    "objects that know .to(device)",
    "Hugging Face, labels in the batch",
    "point sets, split, equal sizes first",
    "point sets, a matrix, equal sizes first",
    "one packed row",
    "time first",
    "chosen and rejected, end to end",
    "siamese, end to end",
}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in BATCHES.items()]
ROWS += [Row(KIND, name, make, name in QUICK, told) for name, (make, told) in TOLD.items()]
