"""A run that keeps the strongest scores has of all scores what a run that keeps all has."""

from __future__ import annotations

import numpy as np
import pytest
from several_pieces import computed_files, drawn, loss, wide_net
from tiny_runs import compute

from influence import Run, Stage, Study
from influence.attribution.edits.amounts import leading, sizes_of, sizes_of_strongest
from influence.errors import RunError, StudyError
from influence.precompute.pieces import keeping
from influence.precompute.pieces.keys import keys_of, rows_of, scores_of_keys, strongest
from influence.run import StageScores, slice_names, slice_rows, top
from influence.run.kept.choice import strongest_kept
from influence.studies.exhibit import Exhibit

K, EXAMPLES, QUERIES = 30, 300, 20


def exhibit(keep: str) -> Exhibit:
    first, second = wide_net(2), wide_net(3)
    second[0].load_state_dict(first[0].state_dict())
    stages = [
        Stage("pretrain", first, loss, drawn(EXAMPLES, 2, 1), l2=0.02),
        Stage("finetune", second, loss, drawn(50, 3, 2), l2=0.02, frozen=["0.*"]),
    ]
    return Exhibit(Study("small", stages, drawn(QUERIES, 3, 3)), method="ekfac", keep=keep)


def computed(folder, keep: str, width: int = 64) -> Run:
    """A run, its scores in spans of so many examples, two of them merged at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping, "SAMPLE", 100)
        patch.setattr(keeping, "SPANS_AT_ONCE", 2)
        patch.setattr(
            keeping, "spans", lambda count, *_, **__: [slice(i, min(i + width, count)) for i in range(0, count, width)]
        )
        (run,) = compute(folder, [exhibit(keep)], ["run"])
    return run


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return computed(tmp_path_factory.mktemp("dense"), "all")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return computed(tmp_path_factory.mktemp("kept"), f"strongest:{K}")


def of_scores(run):
    folders = ("scores/", "strongest/", "totals/", "sample/", "groups/")
    return {name: found for name, found in computed_files(run).items() if name.startswith(folders)}


def each(dense, kept):
    for record in kept.manifest.scores:
        yield dense.scores(record.stage, record.method)[:], kept.kept(record.stage, record.method), record


def test_lists_are_the_strongest_of_all(dense, kept):
    for scores, found, record in each(dense, kept):
        shown = StageScores(kept, record.stage, record.method)
        for query in (0, 7, QUERIES - 1):
            helpful, harmful = shown.lists(query, K)
            np.testing.assert_array_equal(helpful, top(scores[query], K))
            np.testing.assert_array_equal(harmful, top(scores[query], K, helpful=False))
            rows, values = found.strongest(query)
            np.testing.assert_array_equal(values, scores[query][rows])


def test_histograms_count_all(dense, kept):
    for scores, found, _ in each(dense, kept):
        for query in (0, QUERIES - 1):
            counts, width = found.counts(query)
            edges = width * np.arange(-1024, 1025)
            assert counts.sum() == scores.shape[1]
            assert np.abs(scores[query]).max() < edges[-1]
            # Every bar holds its left edge; numpy's last one its right edge, too, which no score reaches.
            np.testing.assert_array_equal(counts, np.histogram(scores[query].astype(np.float64), edges)[0])


def test_totals_are_sums_over_all(dense, kept):
    for scores, found, record in each(dense, kept):
        labels = kept.examples(record.stage)["label"].to_numpy()
        for query in (0, QUERIES - 1):
            row = scores[query].astype(np.float64)
            whole, by_label = found.totals(query), found.totals(query, "label")
            assert whole["helpful"].item() == pytest.approx(row[row > 0].sum(), rel=1e-12)
            assert whole["harmful"].item() == pytest.approx(row[row < 0].sum(), rel=1e-12)
            assert by_label["examples"].sum() == len(row)
            for label, total in by_label.iterrows():
                own = row[labels == label]
                assert total["helpful"] == pytest.approx(own[own > 0].sum(), rel=1e-12)
                assert total["net"] == pytest.approx(own.sum(), rel=1e-9)
            assert found.totals(query, "source") is None


def test_the_sample_has_all_its_scores(dense, kept):
    for scores, found, _ in each(dense, kept):
        assert len(found.sample) == min(100, scores.shape[1])
        np.testing.assert_array_equal(found.sampled[:], scores[:, found.sample])


def test_examples_have_their_sums_over_slices(dense, kept):
    table = dense.queries()
    for scores, found, _ in each(dense, kept):
        assert found.slices == slice_names(table)
        for name in found.slices:
            expected = scores[slice_rows(table, name, 0)].sum(axis=0, dtype=np.float64)
            np.testing.assert_allclose(found.slice_sums(name), expected, rtol=2e-7, atol=1e-12)
        assert found.slice_sums("query") is None


def test_reports_are_the_same(dense, kept):
    for one, other in zip(dense.manifest.scores, kept.manifest.scores, strict=True):
        assert (one.stage, one.method) == (other.stage, other.method)
        assert one.report.get("order_only") == other.report.get("order_only")


def test_promises_are_those_of_all_scores(dense, kept):
    for scores, found, _ in each(dense, kept):
        rows, strongest_scores = (np.zeros((QUERIES, 2 * K), kind) for kind in (np.int64, np.float32))
        for query in range(QUERIES):
            own, values = found.strongest(query)
            rows[query, : len(own)], strongest_scores[query, : len(own)] = own, values
        whole, leaders = sizes_of(scores), leading(rows, strongest_scores, scores.shape[1])
        assert leaders == whole.leading
        ours = sizes_of_strongest(strongest_scores, scores.shape[1], leaders, scores[:, leaders])
        for one, other in zip(whole, ours, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


def test_nothing_but_the_run_is_left(kept):
    assert not kept.unlisted()
    assert not kept.problems()


def test_an_interrupted_run_is_the_same_to_the_last_byte(kept, tmp_path):
    for after in (1, 3, 4):  # within the first merged spans, between merged ones, in the last
        with pytest.MonkeyPatch.context() as patch:
            calls, of = [], keeping.SpanStrongest.by

            def by(part, work, of=of, calls=calls, after=after):
                calls.append(part)
                if len(calls) > after:
                    raise KeyboardInterrupt
                return of(part, work)

            patch.setattr(keeping.SpanStrongest, "by", by)
            with pytest.raises(KeyboardInterrupt):
                computed(tmp_path / str(after), f"strongest:{K}")
        again = computed(tmp_path / str(after), f"strongest:{K}")
        assert of_scores(again) == of_scores(kept)


def test_the_number_of_spans_makes_no_difference_to_lists(kept, tmp_path):
    other = computed(tmp_path, f"strongest:{K}", width=1024)
    of_sums = {name for name in kept.manifest.files if name.startswith("totals/")}  # rounded by span
    one, two = (of_scores(run) for run in (kept, other))
    assert {name for name in one if one[name] != two[name]} <= of_sums


def test_the_whole_array_is_refused_by_name(kept):
    with pytest.raises(RunError, match="keeps of stage 'pretrain' by method 'ekfac' the 30 strongest"):
        kept.scores("pretrain")


@pytest.mark.parametrize("keep", ["strongest:0", "strongest:abc", "strongest", "strongest:-1", "most", "strongest:51"])
def test_what_cannot_be_kept_is_refused(keep):
    with pytest.raises(StudyError, match="--keep is"):
        strongest_kept(keep, [50, 20], 10, 1)
    with pytest.raises(StudyError, match="--keep all"):
        strongest_kept("strongest:5", [50, 20], 10, 2)


def test_large_scores_are_not_kept_whole():
    assert strongest_kept("", [1_000_000], 1000, 1) == 0
    assert strongest_kept("", [10_000_000], 1000, 1) == 1000
    assert strongest_kept("all", [10_000_000], 1000, 1) == 0


def test_keys_order_as_lists_do():
    generator = np.random.default_rng(0)
    scores = generator.integers(-3, 4, (5, 40)).astype(np.float32) * np.float32(1e-40)  # ties, zeros, denormal numbers
    scores[:, 7] = -0.0
    found = strongest(keys_of(scores, 5), 12)
    np.testing.assert_array_equal(rows_of(found) - 5, np.argsort(-scores, axis=1, kind="stable")[:, :12])
    np.testing.assert_array_equal(scores_of_keys(found), np.take_along_axis(scores, rows_of(found) - 5, axis=1))
