"""The Suspects page on a small run, by AppTest."""

import numpy as np
import pytest

from explorer.ui import state, theme
from influence import Run
from influence.live import LEAVE_OUT, Alteration

PAGE = "suspects"


@pytest.fixture(scope="module")
def wrong_sums(small_root):
    run = Run.open(small_root / "small")
    table = run.queries()
    return run.scores("pretrain")[:][(table["label"] != table["prediction"]).to_numpy()].sum(axis=0)


def test_opens_on_what_harms_the_mistakes_most(open_app, small_root, wrong_sums):
    app = open_app(small_root, page=PAGE)
    assert not app.exception
    assert not app.error
    assert not app.warning
    ids = app.dataframe[0].value["id"]
    harmful = np.argsort(wrong_sums)[: (wrong_sums < 0).sum()]
    assert ids.tolist() == harmful[: len(ids)].tolist()


def test_the_other_end_of_the_ranking(open_app, small_root, wrong_sums):
    app = open_app(small_root, page=PAGE, side="Help")
    assert app.dataframe[0].value["id"].iloc[0] == wrong_sums.argmax()


def test_basket_is_in_the_url_and_its_effect_is_the_sum(open_app, small_root, wrong_sums):
    app = open_app(small_root, page=PAGE)
    app.button(key="put").click().run()
    rows = (
        [int(name) for name in app.query_params["basket"][0].split(",")]
        if isinstance(app.query_params["basket"], list)
        else [int(name) for name in app.query_params["basket"].split(",")]
    )
    assert rows == np.argsort(wrong_sums)[:10].tolist()
    text = " ".join(str(m.value) for m in app.markdown)
    assert "predicted to fall by" in text
    assert f"{-wrong_sums[rows].sum() * 1e3:.0f} mnat" in text
    table = Run.open(small_root / "small").queries()
    losses = table["loss"][table["prediction"] != table["label"]]
    assert f"of its {theme.number(float(losses.sum()))} nat" in text
    app.multiselect(key="basket_items").unselect(Alteration(LEAVE_OUT, "pretrain", rows[0])).run()
    assert str(app.query_params["basket"]).strip("[]'") == ",".join(map(str, rows[1:]))
    assert "**9** in the basket" in " ".join(str(m.value) for m in app.markdown)
    app.button(key="empty").click().run()
    assert "basket" not in app.query_params


def test_slice_is_picked_and_kept_in_the_url(open_app, small_root):
    app = open_app(small_root, page=PAGE)
    app.selectbox(key="slice_choice").set_value("query").run()
    assert app.query_params["slice"] in ("query", ["query"])
    assert any("over 1 prediction." in str(caption.value) for caption in app.caption)


@pytest.mark.parametrize("url", [{"slice": "cell-9-9"}, {"basket": "<b>x</b>,99999"}, {"side": "up"}])
def test_bad_links_are_said_and_survived(open_app, small_root, url):
    app = open_app(small_root, page=PAGE, **url)
    assert not app.exception
    assert app.warning
    assert len(app.dataframe[0].value)


def test_visitors_take_the_basket_along():
    assert state.BASKET in state.KEPT
