"""One example a neighbourhood."""

import numpy as np
import pytest

from explorer.view import diverse
from influence.run.nearness.embedding import unit_vectors

# Three directions, each with a close second: 0 and 1, 2 and 3, 4 and 5.
VECTORS = unit_vectors(
    np.array([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 1, 0.1], [0, 0, 1], [0.1, 0, 1]], dtype="float32")
)


def test_the_first_of_a_neighbourhood_stays_and_the_others_are_passed_over():
    order = np.array([1, 0, 3, 2, 4, 5])
    assert diverse.one_a_neighbourhood(order, VECTORS, 0.9, 5).tolist() == [1, 3, 4]
    assert diverse.one_a_neighbourhood(order, VECTORS, 0.9, 2).tolist() == [1, 3]
    assert diverse.one_a_neighbourhood(order[:0], VECTORS, 0.9, 2).tolist() == []


def test_what_was_passed_over_passes_over_nothing():
    # On a line of directions 30 degrees apart, each is near the next one only.
    angles = np.radians([0, 30, 60])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")
    assert diverse.one_a_neighbourhood(np.array([0, 1, 2]), vectors, 0.8, 3).tolist() == [0, 2]


def test_the_radius_is_nearer_than_the_stated_share_of_pairs():
    vectors = unit_vectors(np.random.default_rng(0).normal(size=(300, 4)))
    pairs = (vectors @ vectors.T)[np.triu_indices(300, 1)]
    assert np.mean(pairs >= diverse.radius(vectors)) == pytest.approx(1 - diverse.NEARER_THAN_SHARE, abs=1e-3)
    assert diverse.radius(vectors[:1]) == 1.0


def test_lists_have_no_two_neighbours_and_start_with_the_strongest(open_app, small, tmp_path, component):
    run = small.write_run(tmp_path)
    app = open_app(tmp_path, query="1003", order="Diverse", k="10")
    assert not app.exception
    assert "nearer to it in the embedding than 95%" in app.segmented_control(key="order").help
    vectors = unit_vectors(run.embedding()[0][:])
    near, row = diverse.radius(vectors), run.scores("pretrain")[3]
    for column, signed in zip(component(app, "cards")["columns"], (row, -row), strict=True):
        places = [int(card["id"]) for card in column["cards"]]
        assert places[0] == signed.argmax()
        assert (np.diff(signed[places]) <= 0).all()
        assert (vectors[places] @ vectors[places].T)[np.triu_indices(len(places), 1)].max() < near
        # Something that is passed over is near one that is listed above it.
        passed = next(place for place in np.argsort(-signed) if place not in places)
        above = [place for place in places if signed[place] > signed[passed]]
        assert (vectors[above] @ vectors[passed]).max() >= near


def test_it_is_offered_only_where_there_is_an_embedding(open_app, small, tmp_path):
    small.write_run(tmp_path, "without", embedded=False)
    app = open_app(tmp_path, order="Diverse")
    assert "Diverse" not in app.segmented_control(key="order").options
    assert "Diverse" in app.warning[0].value
    small.write_run(tmp_path, "with")
    app = open_app(tmp_path, run="with", order="Diverse", of="Finetuning")
    assert not app.exception
    assert "Diverse" not in app.segmented_control(key="order").options
