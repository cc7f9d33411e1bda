"""The map of the pretraining examples, coloured by their influence on this query."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explorer import components
from explorer.runs import neighbours, static_files
from explorer.ui import escape, pictures, state, theme, widgets
from explorer.view import label_colours, lists, regions
from explorer.view.view import View
from influence.run import MAP, Run

HEIGHT = 520


def begin(run: Run) -> None:
    """Let the browser fetch what the map needs while the rest of the page is still on its way."""
    if neighbours.mapped(run) is not None:
        components.early(key="early", data={"plotly": static_files.plotly_js(), "points": static_files.places(run)})


def draw(view: View) -> None:
    table = neighbours.mapped(view.run)
    widgets.heading(title(None if table is None else view.run.manifest.map.stage))
    if table is None:
        st.caption(
            "The map is still to be computed. It appears here by itself."
            if MAP in view.run.pending
            else "This run has no map: its examples have no places (x, y)."
        )
        return
    source, points = static_files.plotly_js(), static_files.places(view.run)
    if source is None or points is None:
        st.info(
            "The map needs a file that this server does not serve: static serving is off, or its folder cannot be "
            "written. Start the explorer with `upstream explore` to see it. Everything else on this page works."
        )
        return
    mode = _mode(view)
    components.influence_map(
        key="map", data=data(view, table, mode, source, points), on_picked_change=_pick, on_region_change=_lasso
    )
    _legend(view, table, mode)


def title(stage: str | None) -> str:
    """The panel's heading as HTML; None: the run has no map."""
    return "Map" if stage is None else f"Map of the {escape.for_html(theme.stage_word(stage))} examples"


def _mode(view: View) -> str:
    return widgets.choice(
        "Colour",
        state.COLOURS if view.on_map else state.COLOURS[1:],
        state.COLOUR,
        label_visibility="collapsed",
        help="Colour by influence on this prediction, by the example's label, or by its own training loss.",
    )


def _pick() -> None:
    state.toggle(state.EXAMPLE, components.event("map", "picked"))


def _lasso() -> None:
    drawn = components.event("map", "region") or {}
    state.click(state.REGION, regions.region_text(drawn.get("x", ()), drawn.get("y", ())))


def data(view: View, table: pd.DataFrame, mode: str, source: str, points: str) -> dict[str, Any]:
    """Data of the component. Places, labels and ids are fetched once a run; a view sends only its values.

    They are in half precision, as shares of `limit`: two bytes a point, three digits.
    """
    classes, _ = static_files.labels(view.run)
    own = _colours(view, table)
    values, limit = _values(view, table, mode)
    stage, points_at = view.run.manifest.map.stage, neighbours.points(view.run)
    lists_on_map = view.on_map
    return {
        "plotly": source,
        "points": points,
        "count": len(points_at),
        "value": components.packed(_half(np.nan_to_num(values / limit)), "<f2"),
        "limit": limit,
        "classes": [theme.group_name(name) for name in classes],
        "palette": [own.get(name) for name in classes],
        "mode": mode,
        "factor": view.unit.factor,
        "unit": view.unit.name,
        "helpful": _placed(view, view.lists.helpful) if lists_on_map else [],
        "harmful": _placed(view, view.lists.harmful) if lists_on_map else [],
        "ringed": neighbours.point_of(view.run, view.example) if lists_on_map else None,
        "region": view.region.tolist() if view.region is not None and lists_on_map else None,
        "faint": not lists_on_map,
        "colours": dataclasses.asdict(theme.palette(st.context.theme.type)),
        "query": _star(view),
        "preview": static_files.previews(view.run, stage, on_map=True),
        "revision": view.run.manifest.checksum,
        "height": HEIGHT,
        "file": f"{view.run.name}-{view.query.row['id']}-map",
        "caption": _caption(view, stage, mode),
        "alt": f"Map of {len(points_at):,} {theme.stage_word(stage)} examples coloured by "
        f"{mode.lower()}; a table is at the end of the page.",
    }


def _colours(view: View, table: pd.DataFrame) -> dict[str, str]:
    """Colour of each label that has one of its own."""
    return label_colours.coloured(table["label"], view.group if view.by == state.LABEL else None)


def _values(view: View, table: pd.DataFrame, mode: str) -> tuple[np.ndarray, float]:
    """Values that the colour shows, and the value at which it saturates; labels are known from the points."""
    if mode == state.LABEL:
        return np.empty(0), 1.0
    values = view.scores if mode == state.INFLUENCE else table["loss"].to_numpy()
    return values[neighbours.points(view.run)], lists.clip_limit(values) or 1.0


def _placed(view: View, rows: np.ndarray) -> list[int]:
    """Which of the map's points these examples are, without those that have no place."""
    places = (neighbours.point_of(view.run, row) for row in rows.tolist())
    return [place for place in places if place is not None]


def _star(view: View) -> dict[str, object] | None:
    """The query at its projected place, if it has one."""
    query = view.query.row
    if not ({"x", "y"} <= set(query.index)) or not np.isfinite([query["x"], query["y"]]).all():
        return None
    title, text = f"test item #{query['id']}, projected", f"loss {theme.number(float(query['loss']))} nat"
    if view.query.position is None:
        title = "your question"
    if "prediction" in query:
        said, true = escape.visible(query["prediction"]), escape.visible(query["label"])
        text = f"predicted {said}" if view.query.position is None else f"true {true}, predicted {said}"
    x, y = float(query["x"]), float(query["y"])
    return {"x": x, "y": y, "image": pictures.data_url(query), "title": title, "text": text}


def _caption(view: View, stage: str, mode: str) -> list[str]:
    """Lines under a saved map: run, colours, meaning of the signs."""
    query = view.query.row
    known = f"loss {theme.number(float(query['loss']))} nat"
    if "prediction" in query:
        said, true = escape.beginning(query["prediction"], 40), escape.beginning(query["label"], 40)
        known = f"predicted {said}, true {true}"
    colours = {
        state.INFLUENCE: f"Coloured by influence on test item #{query['id']} ({known})",
        state.LABEL: "Coloured by label",
        state.LOSS: "Coloured by their own training loss",
    }[mode]
    star = " · ★ the test item" if _star(view) else ""
    return [
        f"Run {view.run.name}: {theme.stage_word(stage)} examples",
        colours,
        f"{theme.HELPFUL} most helpful · {theme.HARMFUL} most harmful · blue helpful, orange harmful{star}"
        if mode == state.INFLUENCE
        else f"{theme.HELPFUL} most helpful · {theme.HARMFUL} most harmful{star}",
    ]


def _half(values: np.ndarray) -> np.ndarray:
    """The values in half precision; what would not fit is put at the end of its range."""
    most = float(np.finfo(np.float16).max)
    return values.clip(-most, most).astype("<f2")


def _legend(view: View, table: pd.DataFrame, mode: str) -> None:
    colours = theme.palette(st.context.theme.type)
    if mode == state.INFLUENCE:
        limit = view.unit.text(lists.clip_limit(view.scores)).lstrip("+")
        low, high = f"{theme.HARMFUL} {theme.MINUS}{limit}", f"+{limit} {view.unit.name} {theme.HELPFUL}"
        parts = [f"<span>{low}</span>", _ramp(colours.harmful, colours.grey, colours.helpful), f"<span>{high}</span>"]
        note = "Colour saturates at the 99th percentile of |score|. "
    elif mode == state.LOSS:
        limit = theme.number(lists.clip_limit(table["loss"].to_numpy()))
        parts = ["<span>0</span>", _ramp(colours.low, colours.high), f"<span>{limit} nat own training loss</span>"]
        note = "Colour saturates at the 99th percentile of the loss. "
    else:
        parts, note = _swatches(view, table), ""
    st.html(f'<div class="up-legend">{"".join(parts)}</div>')
    whose = "your question" if view.query.position is None else "this test item, projected"
    star = f"★ {whose}. " if _star(view) else ""
    triangles = f"{theme.HELPFUL}{theme.HARMFUL} the listed ones. "
    if not view.on_map:
        shown = theme.stage_word(view.stage).capitalize()
        triangles = f"{shown} examples have no place on this map; it keeps the others. "
    placed = int(table["x"].notna().sum())
    if placed < len(table):
        triangles = f"A random {placed:,} of {len(table):,} have a place. {triangles}"
    caption = f"{triangles}{star}{note}Neighbourhoods mean something, axes and distances do not."
    st.caption(escape.for_markdown(caption))


def _ramp(*colours: str) -> str:
    return f'<i class="up-ramp" style="background:linear-gradient(90deg,{",".join(colours)})"></i>'


def _swatches(view: View, table: pd.DataFrame) -> list[str]:
    own = _colours(view, table)
    swatches = [_swatch(colour, name) for name, colour in own.items()]
    grey = theme.palette(st.context.theme.type).grey
    rest = set(table["label"].unique()) - set(own)
    if rest == {""}:
        swatches.append(_swatch(grey, "no label"))
    elif rest:
        swatches.append(_swatch(grey, f"{len(rest)} other{'s' if len(rest) > 1 else ''}"))
    return swatches


def _swatch(colour: str, name: str) -> str:
    dot = f'<i class="up-dot" style="background:{colour}"></i>'
    return f'<span title="{escape.for_html(name)}">{dot}{escape.for_html(name)}</span>'
