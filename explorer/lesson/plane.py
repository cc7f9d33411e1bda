"""The small model in the plane: its first points, and a visitor's changes as the URL keeps them.

All numbers of the model are computed in the browser (components/two_stages.js); nothing is trained or scored here.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import streamlit as st

from explorer.ui import state

REACH = 2.0
"""Points lie in the square from -REACH to REACH."""
L2 = 0.02
PRETRAINED, FINETUNED = 3, 2
"""Classes of each stage."""

WRONG, RIGHT = 4, 0
"""Number of the point in the middle of the circles that is labelled a square by mistake, and its true class."""
_POINTS = (
    (-1.26, 0.53, 0), (1.59, 1.5, 1), (0.92, -1.21, 2), (-0.85, 0.77, 1), (1.51, 0.42, 1), (-0.3, -1.21, 2),
    (-1.04, 1.05, 0), (1.58, 0.83, 1), (0.02, -0.43, 2), (-1.59, 0.98, 0), (1.37, 1.14, 1), (0.06, -1.34, 2),
    (-1.31, 0.78, 0), (0.34, 1.25, 1), (0.11, -1.9, 2), (-1.31, 1.19, 0), (0.19, 1.88, 1), (-0.05, -1.15, 2),
    (-1.79, 0.36, 0), (0.37, 1.02, 1), (0.24, -1.48, 2),
)  # fmt: skip
_FINETUNE = (
    (-1.48, -1.06, 0), (1.39, -0.93, 1), (-0.42, -1.04, 0), (0.56, 0.35, 1), (-0.62, -0.62, 0), (1.39, 0.53, 1),
    (-1.08, -0.7, 0), (0.82, -1.09, 1), (-1.19, -0.51, 0), (0.95, -0.12, 1),
)  # fmt: skip
_QUERY = (-0.55, 0.66, 0)

_NUMBER = r"-?\d{1,2}(?:\.\d{1,9})?(?:e-?\d{1,2})?"
_PART = re.compile(rf"(q|[1-9]\d{{0,2}})=({_NUMBER}),({_NUMBER}),(\d)(,out)?")
_ALPHA = re.compile(rf"a=({_NUMBER})")


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of the plane and its class, by number."""

    x: tuple[float, float]
    y: int


@dataclasses.dataclass(frozen=True)
class Plane:
    """The points, what is left out, and how firmly finetuning holds the shared layer (None: it is frozen)."""

    points: tuple[Point, ...]
    finetune: tuple[Point, ...]
    query: Point
    alpha: float | None = None
    left: frozenset[int] = frozenset()
    """Places of the pretraining points that are left out."""

    def data(self) -> dict[str, object]:
        """The plane as the component reads it."""
        return {
            "points": [dataclasses.asdict(point) for point in self.points],
            "finetune": [dataclasses.asdict(point) for point in self.finetune],
            "query": dataclasses.asdict(self.query),
            "l2": L2,
            "alpha": self.alpha,
            "left": sorted(self.left),
        }


def _point(x: float, y: float, label: int) -> Point:
    return Point((x, y), label)


FIRST = Plane(tuple(_point(*row) for row in _POINTS), tuple(_point(*row) for row in _FINETUNE), _point(*_QUERY))


def parse(text: str) -> Plane | None:
    """The plane with what the URL says was changed; None if it says something else.

    Parts are joined by "_": "a=0.1" (alpha), "q=x,y,class" (the test point), "4=x,y,class" (a pretraining point by its
    number, followed by ",out" where it is left out).
    """
    points, query, alpha, left = list(FIRST.points), FIRST.query, FIRST.alpha, set()
    for part in text.split("_") if text else ():
        held, moved = _ALPHA.fullmatch(part), _PART.fullmatch(part)
        if held:
            alpha = float(held[1])
            if not 0 < alpha <= 1e6:
                return None
        elif moved:
            name, x, y, label, out = moved.groups()
            point = _point(float(x), float(y), int(label))
            classes = FINETUNED if name == "q" else PRETRAINED
            place = -1 if name == "q" else int(name) - 1
            if max(map(abs, point.x)) > REACH or point.y >= classes or place >= len(points) or (out and name == "q"):
                return None
            if name == "q":
                query = point
            else:
                points[place] = point
                left |= {place} if out else set()
        else:
            return None
    if len(left) == len(points) or not all(map(math.isfinite, query.x)):
        return None
    return dataclasses.replace(FIRST, points=tuple(points), query=query, alpha=alpha, left=frozenset(left))


def retrained() -> tuple[int, float, float] | None:
    """How many points are left out, and the predicted and the measured change of the test point's loss, in nats.

    As the browser told of the plane that the URL names; None where nothing is left out.
    """
    said = _told()
    if not said.get("left") or said.get("measured") is None:
        return None
    return int(said["left"]), float(said["predicted"]), float(said["measured"])


def relabelled() -> tuple[list[int], float, float] | None:
    """Numbers of the points with another label than at first, and the predicted and the measured change, in nats.

    As `retrained`; None where all labels are those of the beginning.
    """
    said = _told()
    predicted, measured = said.get("relabelling") or (None, None)
    if not said.get("relabelled") or predicted is None or measured is None:
        return None
    return [int(number) for number in said["relabelled"]], float(predicted), float(measured)


def _told() -> dict[str, Any]:
    """What the browser told of the plane that the URL names; empty if it told of another."""
    said = st.session_state.get(state.RETRAINED) or {}
    return said if said.get("text", "") == (state.clicked(state.PLANE) or "") else {}


def serial() -> int:
    """Number of the last change that the browser told of: its own later ones are newer than what it is sent."""
    return int((st.session_state.get(state.RETRAINED) or {}).get("serial", 0))
