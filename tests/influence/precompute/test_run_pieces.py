"""Pieces of a run: the same numbers in any order and by any process, and what is lost is computed again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from several_pieces import computed_files, large_exhibit

from influence.attribution.products.score import Scoring, score
from influence.curvature.ekfac import EKFAC
from influence.curvature.gathering import Eigenvalues, axes_of
from influence.derivatives.batches import LARGE, LARGE_SPAN, SPAN, spans
from influence.derivatives.objective import objectives_of
from influence.derivatives.second.fisher import Fisher
from influence.precompute.pieces.query_vectors import QueryVectors
from influence.precompute.pieces.sharing import Pieces
from influence.precompute.runs import precompute
from influence.run.draft import Draft

pytestmark = pytest.mark.usefixtures("quick_map")


@given(
    count=st.integers(1, 10**6), parameters=st.sampled_from([1, LARGE]), width=st.sampled_from([1, 1024, 2**15]),
    most=st.none() | st.integers(2, 300),
)  # fmt: skip
def test_spans_hold_every_example_once(count, parameters, width, most):
    found = spans(count, parameters, width=width, most=most)
    assert [span.start for span in found] == [0, *(span.stop for span in found[:-1])]
    assert found[-1].stop == count
    least = max(width, LARGE_SPAN if parameters == LARGE else SPAN)
    assert all(span.start % least == 0 for span in found)
    assert most is None or len(found) <= most


@pytest.fixture(scope="module")
def objective():
    return objectives_of(large_exhibit().study)[0]


def test_scores_of_spans_are_those_of_a_whole_pass_in_any_order(objective):
    solved = torch.randn(70, objective.trained.size, generator=torch.Generator().manual_seed(0))
    whole = torch.cat([block for _, block in score(objective, solved)], dim=1)
    scoring = Scoring(objective, solved)
    parts = {
        span.start: torch.cat([block for _, block in scoring.batches(span.start, span.stop)], dim=1)
        for span in reversed(spans(objective.count, objective.all.size))
    }
    assert len(parts) == 3
    assert torch.equal(torch.cat([parts[start] for start in sorted(parts)], dim=1), whole)


def test_sums_of_spans_are_the_same_by_any_process_and_give_the_solver_of_one(objective):
    alone = EKFAC(objective)
    blocks = axes_of(objective, 1, 0, Fisher(objective, 0))
    driver, others = Eigenvalues(objective, blocks, 1, 0), [Eigenvalues(objective, blocks, 1, 0) for _ in range(3)]
    pairs = list(zip(driver.spans, others, strict=True))
    found = {span.start: worker.sums(span) for span, worker in reversed(pairs)}
    for span in driver.spans:
        driver.add(found[span.start])
    for names, block in driver.end().items():
        assert torch.equal(block.curvature, alone.blocks[names].curvature)


def test_queries_that_were_damaged_are_pulled_back_again(tmp_path, monkeypatch):
    """A block is done, and the process ends; then its file is another."""
    (whole,) = precompute([large_exhibit()], ["one"], tmp_path / "whole", progress=False)
    mark, computed = Draft.mark, []

    def killed(self, step, record=None):
        mark(self, step, record)
        if step == "pull ekfac 256":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Draft, "mark", killed)
        with pytest.raises(KeyboardInterrupt):
            precompute([large_exhibit()], ["one"], tmp_path / "cut", progress=False)
    (file,) = (tmp_path / "cut").rglob("queries-ekfac/pretrain/0.float32")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    compute = Pieces.compute
    monkeypatch.setattr(
        Pieces, "compute", lambda self, parts, bar: (computed.extend(p.step for p in parts), compute(self, parts, bar))
    )
    written, write = [], QueryVectors.write
    monkeypatch.setattr(QueryVectors, "write", lambda self, rows, v: (written.append(rows.start), write(self, rows, v)))
    (cut,) = precompute([large_exhibit()], ["one"], tmp_path / "cut", progress=False)
    assert computed[:1] == ["pull ekfac 256"]
    assert set(written[:4]) == {0, 256}
    assert computed_files(cut) == computed_files(whole)
