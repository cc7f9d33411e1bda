"""Families of models in small configurations: the time of EK-FAC, in epochs, a row a family.

    python benchmarks/families.py                # every row of the campaign's transformers, timm networks and adapters
    python benchmarks/families.py dora t5 swin   # rows whose kind or name holds one of the words
    python benchmarks/families.py --smoke        # one row of few examples, to see that it runs

The rows are those of `tests/campaigns/families`, with more and larger layers: at the campaign's own sizes, which the
truth in double precision asks for, what is done once a stage is most of the time. One epoch is a plain forward and
backward pass over the same examples, in batches of the same size, measured beside.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "campaigns"))

import torch
import transformers
from comparison import Row, Setup
from families import adapters, timm_networks, transformers_models
from rich.console import Console
from rich.table import Table

from influence import attribute
from influence.errors import UpstreamError

QUERIES, BATCH = 10, 64
WIDER = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "word_embed_proj_dim", "embedding_size"), 64),
    **dict.fromkeys(("intermediate_size", "d_ff", "hidden_dim", "d_inner", "ffn_dim"), 128),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 128),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 64),
    "d_kv": 16,
    "head_dim": 16,
    "state_size": 8,
    "vocab_size": 200,
}
"""Fields of a configuration, by name, in place of the campaign's."""


class Wider:
    """`transformers`, whose configurations have the sizes of this benchmark."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(transformers, name)
        if not name.endswith("Config"):
            return found
        return lambda **given: found(**{k: _wider(k, v) for k, v in given.items()})


def _wider(field: str, value: Any) -> Any:
    return WIDER.get(field, value) if isinstance(value, int) else value


def enlarge(examples: int) -> None:
    """Give the campaign's families the sizes of this benchmark."""
    replaced = {"M": examples, "Q": QUERIES, "WORDS": 200, "LENGTH": 24, "texts": texts(examples)}
    replaced["transformers"] = Wider()
    for module in (transformers_models, timm_networks, adapters):
        for name in replaced.keys() & vars(module).keys():
            setattr(module, name, replaced[name])


def texts(examples: int) -> Callable[[], list[tuple[torch.Tensor, torch.Tensor]]]:
    """Texts of 12 to 24 words, the label told by the first one."""

    def make() -> list[tuple[torch.Tensor, torch.Tensor]]:
        rows = [torch.randint(3, 200, (12 + i % 13,)) for i in range(examples + QUERIES)]
        return [(row, row[0] % 3) for row in rows]

    return make


def chosen(words: Sequence[str]) -> list[Row]:
    rows = [*transformers_models.ROWS, *timm_networks.ROWS, *adapters.ROWS]
    return [row for row in rows if not words or any(word.lower() in str(row).lower() for word in words)]


def epoch(setup: Setup) -> None:
    """A forward and backward pass over the examples, by what is trained."""
    parameters = [p for p in setup.model.parameters() if p.requires_grad]
    for start in range(0, len(setup.examples), BATCH):
        setup.model.train().eval()
        torch.autograd.grad(setup._loss(setup.examples[start : start + BATCH]), parameters, allow_unused=True)


def seconds(do: Callable[[], object]) -> float:
    started = time.process_time()
    do()
    return time.process_time() - started


def measured(row: Row, repeats: int, method: str = "ekfac") -> tuple[float, float, list[str]]:
    """(epochs of the method, seconds of an epoch, parameters without a rule)."""
    torch.manual_seed(0)
    setup = row.make()
    assert isinstance(setup, Setup)
    setup.prepare()
    for name, parameter in setup.model.named_parameters():
        frozen = any(name == pattern for pattern in setup.frozen)
        parameter.requires_grad_(parameter.is_floating_point() and not frozen)
    study = setup.study()
    spent, passed = [], []
    slow: list[str] = []
    epoch(setup)
    for _ in range(repeats):
        passed += [seconds(lambda: epoch(setup)) for _ in range(3)]
        started = time.process_time()
        scores = attribute(study, method=method, damping=1e-2, progress=False, batch_size=BATCH)
        spent.append(time.process_time() - started)
        slow = [name for names in scores.report["without_rule"].values() for name in names]
    return min(spent) / min(passed), min(passed), slow


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("words", nargs="*")
    asked.add_argument("--examples", type=int, default=128)
    asked.add_argument("--repeats", type=int, default=2)
    asked.add_argument("--method", default="ekfac")
    asked.add_argument("--smoke", action="store_true")
    given = asked.parse_args()
    warnings.simplefilter("ignore")
    enlarge(24 if given.smoke else given.examples)
    log = Console(stderr=True, markup=False, highlight=False)
    table = Table("family", "epochs", "an epoch, s", "without rule", title=f"{given.method}, {QUERIES} queries")
    for row in chosen(["peft: DoRA"] if given.smoke else given.words):
        try:
            epochs, passed, slow = measured(row, 1 if given.smoke else given.repeats, given.method)
            cells = [f"{epochs:.1f}", f"{passed:.3f}", ", ".join(slow) or "none"]
        except (RuntimeError, UpstreamError) as error:  # not every family can be of every size
            cells = ["", "", f"{type(error).__name__}: {error}"]
        table.add_row(row.name, *cells)
        log.print(row.name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
