"""Text studies, from a corpus to a run; and the definitions that ship."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_texts import sentences
from tokenizers import Tokenizer

from influence.errors import StudyError
from influence.precompute.runs import precompute
from influence.studies.texts import TextOptions, TextStudy
from influence.studies.texts.corpus import Corpus
from influence.studies.texts.definitions import TOPICS, Definitions
from influence.studies.texts.duplicates import near_duplicates

OPTIONS = TextOptions(vocabulary=30, context=5, width=8)


def corpus(count: int, seed: int, first: int = 0) -> Corpus:
    texts, topics = sentences(count, seed)
    numbers = list(range(first, first + count))
    return Corpus(texts, topics, numbers, [f"title {n}" for n in numbers], ["made up"] * count)


@pytest.fixture(scope="module")
def parts() -> dict[str, Corpus]:
    rare = Corpus(
        ["<b>*quaint*</b> 👩‍👩‍👧", "a hen  sleeps in the sun & and more words than fit"], ["x"] * 2, [900, 901]
    )
    known = corpus(40, 0)
    pretrain = Corpus(
        [*known.texts, *rare.texts], [*known.labels, *rare.labels], [*known.ids, *rare.ids], sources=["made up"] * 42
    )
    return {"pretrain": pretrain, "finetune": corpus(16, 1, 100), "queries": corpus(7, 2, 200)}


@pytest.fixture(scope="module")
def runs(parts, tmp_path_factory):
    study = TextStudy("tiny", "Sentences", parts, OPTIONS)
    exhibits = [study.exhibit(variant) for variant in study.variants]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        return precompute(exhibits, ["t-frozen", "t-updated"], tmp_path_factory.mktemp("runs"), progress=False)


def test_a_language_model_has_no_classes(runs):
    for run in runs:
        record, table = run.stage("pretrain"), run.examples("pretrain")
        assert (record.classes, record.accuracy) == ((), None)
        assert not {"prediction", "confidence", "label_probability"} & set(table)
        assert {"text", "source", "loss", "x", "y", "gradient_norm", "self_influence"} <= set(table)
        assert run.stage("finetune").classes == ("pet", "tool")
        assert set(run.queries().prediction) <= {"pet", "tool"}
        assert np.isfinite(run.scores()[:]).all()
        assert (run.scores()[:] != 0).any(axis=1).all()


def test_texts_are_shown_as_they_are_in_the_order_of_their_lengths(runs, parts):
    table, places = runs[0].examples("pretrain"), runs[0].tokens("pretrain")
    assert sorted(table.id) == sorted(parts["pretrain"].ids)
    given = dict(zip(parts["pretrain"].ids, parts["pretrain"].texts, strict=True))
    assert [given[number] for number in table.id] == table.text.tolist()
    assert places.starts.map(len).is_monotonic_increasing
    assert places.starts.map(len).max() == OPTIONS.context
    row = int(np.flatnonzero(table.id == 900)[0])
    found = [table.text[row][a:b] for a, b in zip(places.starts[row], places.ends[row], strict=True)]
    assert found[:5] == ["<", "b", ">", "*", "quaint"]


def test_shares_add_up_to_the_scores(runs):
    for run in runs:
        method, scores = run.manifest.default_method, run.scores()[:]
        assert run.manifest.shares == {f"pretrain-{method}": 20}
        for query in range(len(scores)):
            shares = run.shares("pretrain", method, query)
            strongest = {*np.argsort(-scores[query])[:20], *np.argsort(scores[query])[:20]}
            assert set(shares) == {i for i in strongest if scores[query, i] != 0} & set(shares)
            assert len(shares) >= 20
            for example, values in shares.items():
                assert len(values) == len(run.tokens("pretrain").starts[example])
                assert abs(values.sum() - scores[query, example]) <= 0.04 * np.abs(scores[query]).max()
        assert run.shares("finetune", method, 0) == {}


def test_the_run_holds_tokenizer_and_embedding(runs):
    for run in runs:
        tokenizer = Tokenizer.from_str((run.path / "tokenizer.json").read_text(encoding="utf-8"))
        text, places = run.queries().text[0], run.tokens("queries")
        assert [a for a, _ in tokenizer.encode(text).offsets[:5]] == list(places.starts[0])
        examples, queries = run.embedding()
        assert examples.shape == (42, 8)
        assert queries.shape == (7, 8)


def test_what_a_careful_reader_should_know(runs):
    warnings = "\n".join(runs[0].manifest.warnings)
    assert "texts of 'pretrain' are longer than the model's context and were cut after 5 tokens." in warnings
    assert "of 'finetune' stand nearly word for word in 'pretrain' too." in warnings


def test_equal_settings_give_an_equal_run(parts, runs, tmp_path):
    exhibit = TextStudy("tiny", "Sentences", parts, OPTIONS).exhibit("frozen")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        again = precompute([exhibit], ["t-frozen"], tmp_path, progress=False)[0]
    np.testing.assert_array_equal(again.scores()[:], runs[0].scores()[:])
    other = TextStudy("tiny", "Sentences", parts, dataclasses.replace(OPTIONS, width=4)).exhibit("frozen")
    assert other.all_settings != exhibit.all_settings


def test_common_words_weigh_little_in_a_sentence(parts):
    study = TextStudy("tiny", "Sentences", parts, TextOptions(vocabulary=40, width=8, layers=1)).exhibit("frozen").study
    seen = torch.cat([ids for ids, _ in study.stages[0].data])
    common, rare = (
        seen.bincount().argmax(),
        seen.bincount(minlength=40).where(seen.bincount(minlength=40) > 0, 99).argmin(),
    )
    for stage in study.stages:
        weights = stage.model.body.emphasis
        assert 0 < weights[common] < weights[rare] <= 1
        assert weights.min() == weights[common]


def test_fewer_queries_are_drawn_by_the_seed(parts):
    chosen = [
        TextStudy("t", "S", parts, dataclasses.replace(OPTIONS, queries=3, seed=seed)).parts["queries"].ids
        for seed in (0, 0, 1)
    ]
    assert len(chosen[0]) == 3
    assert chosen[0] == chosen[1] != chosen[2]


def test_classes_that_cannot_be(parts):
    unknown = {**parts, "queries": Corpus(["a cat"], ["bird"])}
    with pytest.raises(
        StudyError, match="a test text has the label 'bird', which no text to finetune on has; those have"
    ):
        TextStudy("t", "S", unknown, OPTIONS)
    single = {**parts, "finetune": Corpus(["a cat", "a dog"], ["pet", "pet"])}
    with pytest.raises(StudyError, match="there is only the class 'pet' to finetune on"):
        TextStudy("t", "S", single, OPTIONS)
    with pytest.raises(StudyError, match="there is only the class none to finetune on"):
        TextStudy("t", "S", {**parts, "finetune": Corpus([])}, OPTIONS)


# The definitions that ship


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return Definitions(seed=3)


def test_no_definition_is_in_two_parts(definitions):
    sizes = {name: len(part) for name, part in definitions.parts.items()}
    assert (sizes["finetune"], sizes["queries"]) == (800, 800)
    assert sizes["pretrain"] >= 20_000
    ids = [set(part.ids) for part in definitions.parts.values()]
    assert sum(map(len, ids)) == len(set.union(*ids)) == sum(sizes.values())
    for here, there in (("finetune", "pretrain"), ("queries", "pretrain"), ("queries", "finetune")):
        found = near_duplicates(definitions.parts[here].texts, definitions.parts[there].texts)
        assert (found < 0).all()


def test_topics_are_balanced_and_pretraining_has_all(definitions):
    names = {topic.removeprefix("noun.") for topic in TOPICS}
    for part in ("finetune", "queries"):
        counts = pd.Series(definitions.parts[part].labels).value_counts()
        assert set(counts.index) == names
        assert len(set(counts)) == 1
    assert len(set(definitions.parts["pretrain"].labels)) == 45
    assert set(definitions.parts["pretrain"].sources) == {"nouns", "verbs", "adjectives", "adverbs"}


def test_the_seed_draws_other_definitions(definitions):
    assert set(definitions.parts["queries"].ids) != set(Definitions(seed=4).parts["queries"].ids)
