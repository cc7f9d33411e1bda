"""The engine's speed, in epochs: one epoch is a plain forward and backward pass over the training data.

    python benchmarks/engine.py                # 20,000 images, a CNN of 56,714 parameters; kronfluence if it is there
    python benchmarks/engine.py --smoke        # 300 images and few queries, to see that it runs

Each row is measured beside an epoch of its own, since machines are noisy. `pip install kronfluence` adds its rows.
Scores are compared with dot products of gradients in float64 on 200 examples, those with an error allowed with the
scores without, on all (relative error, worst query).
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample
from torch.utils.data import TensorDataset

from influence import Index, Stage, Study
from influence.attribution.products.dots import dots
from influence.curvature.cg import ConjugateGradients
from influence.curvature.ekfac import EKFAC
from influence.derivatives import Objective, objectives_of
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.first.watch import Watch

DAMPING, PROBES = 1e-2, 200


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def images(count: int, seed: int) -> TensorDataset:
    """Digits of scikit-learn, enlarged to 28x28, turned and shifted; one label in twenty is wrong."""
    digits, g = load_digits(), torch.Generator().manual_seed(seed)
    rows = torch.randint(len(digits.target), (count,), generator=g)
    angle, shift = (torch.rand(count, generator=g) - 0.5) * 0.6, (torch.rand(count, 2, generator=g) - 0.5) * 0.3
    c, s = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([torch.stack([c, -s, shift[:, 0]], 1), torch.stack([s, c, shift[:, 1]], 1)], 1)
    small = torch.from_numpy(digits.images).float()[rows][:, None] / 16
    x = grid_sample(small, affine_grid(turn, [count, 1, 28, 28], align_corners=False), align_corners=False)
    y = torch.from_numpy(digits.target)[rows]
    wrong = torch.rand(count, generator=g) < 0.05
    y[wrong] = torch.randint(10, (int(wrong.sum()),), generator=g)
    return TensorDataset(x.contiguous(), y)


def loss(outputs: Tensor, batch: list[Tensor]) -> Tensor:
    return cross_entropy(outputs, batch[1], reduction="none")


def epoch(model: nn.Module, data: TensorDataset, optimiser: torch.optim.Optimizer | None = None) -> float:
    """Seconds; a step a batch if there is an optimiser."""
    began = time.perf_counter()
    for x, y in zip(*(t.split(128) for t in data.tensors), strict=True):
        cross_entropy(model(x), y).backward()
        if optimiser:
            optimiser.step()
        model.zero_grad()
    return time.perf_counter() - began


class Report:
    """Rows of the table; every time is divided by that of an epoch just before or after, whichever was shorter."""

    def __init__(self, model: nn.Module, data: TensorDataset, table: Table | None = None):
        self.model, self.data = model, data
        self.table = table or Table("what", "epochs", "seconds", "remark")

    def measure(
        self, what: str, action: Callable[[], object], remark: Callable[[object], str] = lambda _: ""
    ) -> object:
        before = epoch(self.model, self.data)
        began = time.perf_counter()
        found = action()
        seconds = time.perf_counter() - began
        base = min(before, epoch(self.model, self.data))
        self.table.add_row(what, f"{seconds / base:.2f}", f"{seconds:.2f}", remark(found))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="300 images, 20 held out, few queries")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch; one in the smallest setting")
    given = parser.parse_args()
    threads = 1 if given.smoke else given.threads
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    examples, others = (300, 20) if given.smoke else (20_000, 1_000)
    data, held_out, model = images(examples, 0), images(others, 1), network()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(2 if given.smoke else 4):
        epoch(model, data, optimiser)
    queries = (1, 10) if given.smoke else (1, 10, 100, 1000)
    study = Study("engine", [Stage("train", model, loss, data)], held_out)
    (objective,) = objectives_of(study)
    report = Report(model, data)
    sides = torch.cat([rows for _, rows in example_gradients(objective, held_out, objective.trained)])
    fitted = report.measure("EK-FAC fit", lambda: EKFAC(objective, damping=DAMPING))
    assert isinstance(fitted, EKFAC)
    solved = fitted.solve(sides)
    exact = exact_dots(model, data, solved)
    report.measure("forward, and back to the layers' outputs", lambda: without_products(objective, data))
    scores: Any = None
    for count in queries:
        vectors = solved[:count]
        scores = report.measure(
            f"scores of {count} queries",
            lambda v=vectors: torch.cat([block for _, block in dots(objective, data, objective.trained, v)]),
            lambda found, n=count: f"error {worst_error(found, exact[:, :n]):.0e}",
        )
    for count in queries[2:]:
        vectors = solved[:count]
        report.measure(
            f"scores of {count} queries, error 1 % allowed",
            lambda v=vectors: torch.cat([b for _, b in dots(objective, data, objective.trained, v, error=0.01)]),
            lambda found, n=count: low_rank_remark(objective, found, scores[:, :n]),
        )
    for examples in (300,) if given.smoke else (2_000, 20_000):
        solves(report, study, sides, (2,) if given.smoke else (10, 100), examples)
    with tempfile.TemporaryDirectory() as folder:
        index = Index(study, folder, method="ekfac", damping=DAMPING, progress=False)
        index.scores(solved[:1])
        began = time.perf_counter()
        for row in solved[:20].split(1):
            index.scores(row)
        spent = (time.perf_counter() - began) / 20
        remark = f"{1e3 * spent:.0f} ms each, error {index.error:.0e}, {index.bytes / 2**20:.0f} MiB"
        report.table.add_row("a new query through the index", "", "", remark)
    for count in queries[2:] or queries[-1:]:
        needed = memory_of_scores(model, data, solved[:count], threads)
        report.table.add_row(f"memory to score {count} queries, beyond data and vectors", "", "", f"{needed} MB")
    if importlib.util.find_spec("kronfluence") and not given.smoke:
        kronfluence(report, data, held_out, queries)
    random_weights(report, data, held_out, queries[1:])
    console = Console(width=110)
    console.print(report.table)
    console.print(f"{threads} threads, torch {torch.__version__}")


def random_weights(report: Report, data: TensorDataset, held_out: TensorDataset, queries: tuple[int, ...]) -> None:
    """The same network as it began, in which no unit is cut off in all examples: nothing can be left out."""
    model = network()
    (objective,) = objectives_of(Study("random", [Stage("train", model, loss, data)], held_out))
    rows = Report(model, data, report.table)
    sides = torch.cat([found for _, found in example_gradients(objective, held_out, objective.trained)])
    fitted = rows.measure("random weights: EK-FAC fit", lambda: EKFAC(objective, damping=DAMPING))
    assert isinstance(fitted, EKFAC)
    solved = fitted.solve(sides)
    for count in queries:
        for error in (0.0, 0.01):
            rows.measure(
                f"random weights: scores of {count} queries{', error 1 % allowed' if error else ''}",
                lambda v=solved[:count], e=error: [0 for _ in dots(objective, data, objective.trained, v, error=e)],
            )


def memory_of_scores(model: nn.Module, data: TensorDataset, vectors: Tensor, threads: int) -> int:
    """Largest resident memory while scoring, over what stands before, in a process of its own, MB."""
    with tempfile.TemporaryDirectory() as folder:
        torch.save((model.state_dict(), data.tensors, vectors), Path(folder) / "given.pt")
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(peak_of_scores, (Path(folder) / "given.pt", threads))


def peak_of_scores(given: Path, threads: int) -> int:
    """What `memory_of_scores` runs in its process."""
    torch.set_num_threads(threads)
    parameters, tensors, vectors = torch.load(given)
    model, data = network(), TensorDataset(*tensors)
    model.load_state_dict(parameters)
    (objective,) = objectives_of(Study("memory", [Stage("train", model, loss, data)], data))
    epoch(model, TensorDataset(*(t[:128] for t in tensors)))  # torch's own kernels
    before = psutil.Process().memory_info().rss
    with suppress(OSError):  # else what came before counts too
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    for _ in dots(objective, data, objective.trained, vectors):
        pass
    return round((largest_resident() - before) / 1e6)


def largest_resident() -> int:
    """Bytes of this process's memory when it was largest; not by `getrusage`, which counts the parent's too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def without_products(objective: Objective, data: TensorDataset) -> None:
    """What any scores by gradients take at least."""
    watch = Watch(objective, objective.trained)
    for positions, batch in objective.batches(data):
        watch.factors(batch, positions.stop - positions.start)


def solves(report: Report, study: Study, sides: Tensor, counts: tuple[int, ...], examples: int) -> None:
    """Exact solves with the Gauss-Newton matrix of some examples."""
    stage = study.stages[0]
    part = Stage("part", stage.model, loss, TensorDataset(*(t[:examples] for t in stage.data.tensors)))
    (objective,) = objectives_of(Study("part", [part], study.queries))
    solver = report.measure(
        f"Gauss-Newton rows of {examples:,} examples",
        lambda: ConjugateGradients(objective, damping=DAMPING, tolerance=1e-3),
        lambda found: "kept" if found.report["rows_in_memory"] else "do not fit",  # type: ignore[attr-defined]
    )
    assert isinstance(solver, ConjugateGradients)
    for count in counts:
        report.measure(
            f"exact solve of {count} queries to 1e-3 with them",
            lambda n=count: solver.solve(sides[:n]),
            lambda _: f"{max(solver.report['iterations'])} iterations, residual {max(solver.report['residuals']):.0e}",
        )


def low_rank_remark(objective: Objective, found: Tensor, exact: Tensor) -> str:
    """Error and rank correlation, over all examples, of the worst query."""
    rank = min(spearmanr(a, b).statistic for a, b in zip(found.T, exact.T, strict=True))
    forms = ", ".join(
        f"{form['queries']} of rank {form['rank'] or 'full'}{' in bfloat16' if form['half'] else ''}"
        for form in objective.remarks.compression["forms"]
    )
    widths = ", ".join(
        f"{name} {few} of {all_}" for name, (few, all_) in objective.remarks.compression["narrowed"].items()
    )
    remark = f"error {worst_error(found, exact):.1e}, Spearman {rank:.4f} or more; {forms}"
    return f"{remark}; directions of {widths}" if widths else remark


def exact_dots(model: nn.Module, data: TensorDataset, vectors: Tensor) -> Tensor:
    """In float64, by plain autograd, of the first examples: (PROBES, Q)."""
    rows = []
    double = network().double()
    double.load_state_dict(model.state_dict())
    for x, y in zip(*data[:PROBES], strict=True):
        found = torch.autograd.grad(cross_entropy(double(x[None].double()), y[None]), list(double.parameters()))
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows) @ vectors.double().T


def worst_error(found: Tensor, exact: Tensor) -> float:
    """Of the worst query, on the examples that `exact` has."""
    return float(((found[: len(exact)] - exact).norm(dim=0) / exact.norm(dim=0)).max())


def kronfluence(report: Report, data: TensorDataset, held_out: TensorDataset, queries: tuple[int, ...]) -> None:
    """The same with the best peer, as its documentation says."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task

    class Classify(Task):
        def compute_train_loss(self, batch, model, sample=False):
            logits = model(batch[0])
            labels = torch.multinomial(logits.detach().softmax(-1), 1).flatten() if sample else batch[1]
            return cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch, model):
            return self.compute_train_loss(batch, model)

    task, model = Classify(), network()
    model.load_state_dict(report.model.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        analyzer = Analyzer("engine", prepare_model(model, task), task, cpu=True, disable_tqdm=True, output_dir=folder)
        settings = FactorArguments(strategy="ekfac")
        report.measure(
            "kronfluence: EK-FAC fit",
            lambda: analyzer.fit_all_factors("f", data, factor_args=settings, per_device_batch_size=256),
        )
        for count in queries:
            some = TensorDataset(*(t[:count] for t in held_out.tensors))
            report.measure(
                f"kronfluence: scores of {count} queries",
                lambda n=count, asked=some: analyzer.compute_pairwise_scores(
                    f"s{n}", "f", asked, data, per_device_query_batch_size=min(n, 100), per_device_train_batch_size=256,
                    score_args=ScoreArguments(
                        damping_factor=DAMPING, query_gradient_accumulation_steps=max(1, n // 100)
                    ),
                ),
            )  # fmt: skip


if __name__ == "__main__":
    main()
