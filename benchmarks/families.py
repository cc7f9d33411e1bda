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
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "campaigns"))

import torch
from comparison import Row, Setup
from families import adapters, timm_networks, transformers_models
from rich.console import Console

from influence import attribute

QUERIES, BATCH = 10, 64
HEADS = {"num_attention_heads": 4}
WIDER = {
    "SIZES": {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, **HEADS},
    "PLACES": {"max_position_embeddings": 64},
    "PICTURE": {"image_size": 32},
    "GPT": {"n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4},
    "T5": {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4},
    "BART": {
        "d_model": 64,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128,
        "max_position_embeddings": 64,
    },
    "OPT": {"hidden_size": 64, "num_hidden_layers": 2, "ffn_dim": 128, "word_embed_proj_dim": 64},
    "EXPERTS": {"intermediate_size": 128, "num_local_experts": 4},
    "SWIN": {"embed_dim": 32, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4},
    "CONV": {"hidden_sizes": [16, 32]},
    "TEXT": {"vocab_size": 200},
}


def enlarge(examples: int) -> None:
    """Give the campaign's families the sizes of this benchmark."""
    for name, sizes in WIDER.items():
        getattr(transformers_models, name).update(sizes)
    replaced = {"M": examples, "Q": QUERIES, "WORDS": 200, "LENGTH": 24, "texts": texts(examples)}
    for module in (transformers_models, timm_networks, adapters):
        _replace(module, replaced)


def _replace(module: ModuleType, values: dict[str, object]) -> None:
    for name in values.keys() & vars(module).keys():
        setattr(module, name, values[name])


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
    page = Console(soft_wrap=True, markup=False, highlight=False)
    page.print("| family | epochs | an epoch, s | without rule |\n|---|---|---|---|")
    for row in chosen(["adapters of peft: dora"] if given.smoke else given.words):
        try:
            epochs, passed, slow = measured(row, 1 if given.smoke else given.repeats, given.method)
        except Exception as error:
            page.print(f"| {row.name} | | | {type(error).__name__}: {str(error)[:120]} |")
            continue
        page.print(f"| {row.name} | {epochs:.1f} | {passed:.3f} | {len(slow) or 'none'} {', '.join(slow[:3])} |")


if __name__ == "__main__":
    main()
