"""Edits of dictionary definitions, whose pretraining stops where its mini-batches end, for `edits.py`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from leave_one_out import agreement
from rich.console import Console
from rich.table import Table

from influence import attribute, edit_scores, edits
from influence.studies.exhibit import Exhibit, recipe_of
from influence.studies.texts import TextOptions, TextStudy
from influence.studies.texts.definitions import corpora
from influence.studies.texts.strike import struck
from influence.study.edits import Edit
from influence.study.labels import with_label
from influence.training import Retrainer
from influence.training.fitting import fit

SOLVING: dict[str, dict[str, Any]] = {
    "finetune": {"method": "exact", "progress": False},
    "pretrain": {"method": "ekfac", "damping": 1e-3, "progress": False},
}
SIZES = {"pretrain": 400, "finetune": 300, "queries": 200}


def trained(seed: int, step: int) -> tuple[Exhibit, Retrainer]:
    """A transformer layer of width 16 on 400 definitions, and a classifier of their topics on its frozen body.

    Or on one of every `step` definitions, in as many fewer passes over them.

    Beside it, what trains both again from their random starts, in the same order.
    """
    rng = np.random.default_rng(seed)
    parts = {
        part: corpus.chosen(np.sort(rng.permutation(len(corpus))[: SIZES[part] // step]).tolist())
        for part, corpus in corpora(seed).items()
    }
    options = TextOptions(vocabulary=300, context=16, width=16, layers=1, epochs=max(1, 10 // step), seed=seed)
    exhibit = TextStudy("texts", "Definitions", parts, options).exhibit("frozen")
    starts, recipes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for previous, stage in exhibit.study.pairs():
            stage.model.double()
            starts[stage.name] = {name: p.detach().clone() for name, p in stage.model.named_parameters()}
            recipe = recipe_of(exhibit, stage)
            assert recipe is not None
            recipes[stage.name] = recipe
            fit(stage, previous, recipe, torch.device("cpu"), Path(folder) / stage.name, lambda _: None)
    return exhibit, Retrainer(exhibit.study, recipes=recipes, starts=starts)


def kinds(exhibit: Exhibit, name: str, rng: np.random.Generator) -> dict[str, Callable[[int], Edit]]:
    """Name -> the edit of this kind of one definition of a stage."""
    stage = exhibit.study.stages[exhibit.study.position(name)]
    classes, encode = len(exhibit.classes[name]), exhibit.encode
    assert encode is not None

    def strike(row: int) -> Edit:
        text = exhibit.examples[name]["text"].iloc[row]
        words = [word for word in text.split() if word.isalpha()]
        item = encode(struck(text, [str(rng.choice(words))])).item if len(words) > 1 else stage.data[row]
        return edits.replace(name, [row], [with_label(item, stage.data[row][1], "It") if classes else item])

    def relabel(row: int) -> Edit:
        return edits.relabel(name, [row], [(int(stage.data[row][1]) + int(rng.integers(1, classes))) % classes])

    found: dict[str, Callable[[int], Edit]] = {
        "leave out": lambda row: edits.leave_out(name, [row]),
        "strike a word": strike,
    }
    return found | ({"another label": relabel} if classes else {})


def print_texts(seed: int, count: int, step: int, console: Console) -> None:
    """A row for each kind of edit, at either stage: random definitions, and those of strongest influence."""
    (exhibit, retrainer), rng = trained(seed, step), np.random.default_rng(seed)
    base = retrainer.retrain(start="scratch").losses
    table = Table("stage", "edit of one definition", "r random", "slope", "r strongest", "slope")
    for name in ("finetune", "pretrain"):
        total = np.abs(attribute(exhibit.study, stage=name, **SOLVING[name]).values).sum(0)
        rows = [*rng.choice(len(total), count, replace=False), *np.argsort(-total)[:count]]
        for kind, edit in kinds(exhibit, name, rng).items():
            some = [edit(int(row)) for row in rows]
            predicted = edit_scores(exhibit.study, some, **SOLVING[name]).values.T
            really = np.stack([retrainer.retrain(edits=each, start="scratch").losses - base for each in some])
            parts = (slice(0, count), slice(count, None))
            table.add_row(
                name, kind, *(figure for part in parts for figure in agreement(predicted[part], really[part]))
            )
    console.print(table)
    console.print(
        f"{count} random and {count} strongest definitions a kind, {len(base)} queries. The head stands at its minimum "
        "(exact), the language model where its mini-batches ended (EK-FAC); both are trained again from their starts."
    )
