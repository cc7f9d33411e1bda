"""What the components are sent of a card: nothing that it does not have."""

from __future__ import annotations

from explorer.panels.lists.card import HELPFUL, Card, CardList, Mark, Piece

CARD = Card(id="7", sign=HELPFUL, label="cat", detail="#7", image=None, alt="Example 7", score="+1")


def test_a_card_is_sent_without_what_is_unknown():
    assert CARD.json() == {
        "id": "7", "sign": "helpful", "label": "cat", "detail": "#7", "alt": "Example 7", "score": "+1", "full": "",
        "width": 0.0, "ringed": False, "placed": True, "marks": [],
    }  # fmt: skip


def test_marks_and_pieces_go_along():
    card = Card(**{**vars(CARD), "marks": (Mark("∀", "everywhere"),), "pieces": (Piece("a"), Piece("b", weight=0.0))})
    assert card.json()["marks"] == [{"text": "∀", "title": "everywhere"}]
    assert card.json()["pieces"] == [{"text": "a"}, {"text": "b", "weight": 0.0}]


def test_a_list_holds_its_cards():
    sent = CardList("Helpful", (CARD, CARD), "none").json()
    assert sent["cards"] == [CARD.json()] * 2
    assert {key: sent[key] for key in ("title", "empty", "sign", "symbol", "unit")} == {
        "title": "Helpful", "empty": "none", "sign": "single", "symbol": "", "unit": "",
    }  # fmt: skip
