"""A view as one HTML file that opens anywhere: pictures inside, no script, nothing fetched, all data escaped."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from explorer.ui import pictures, theme
from explorer.ui.escape import for_html

HERE = Path(__file__).parent
# Even if an escape were forgotten, a browser would run and fetch nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BASE, TICKS = 460, 165, 40, 8, 8, 122, (128, 142)
"""The histogram's size, margins, and upper and lower end of its ticks, in pixels; as on the page."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a report says. Texts are as the data has them; `prediction` alone is HTML, with everything escaped."""

    question: str
    prediction: str
    stage: str
    """The stage that the listed examples are of, as a word."""
    explained: str
    """What is explained, such as "the loss on this prediction"."""
    cards: Mapping[str, Any]
    """What the cards are drawn from, as the component gets it; `spread` and `totals` likewise."""
    spread: Mapping[str, Any]
    totals: Sequence[Mapping[str, Any]]
    summed_by: str
    narrowed: Sequence[str]
    """What the lists were narrowed down to."""
    sentences: Sequence[str]
    """What is said below the lists."""
    notes: Sequence[tuple[str, str]]
    """What was noted: of whom, and what."""
    run: str
    identity: str
    facts: Sequence[tuple[str, str]]
    order_only: Sequence[str]
    """Why the size of the scores means nothing; empty: they are in nats."""
    warnings: Sequence[str]
    remarks: Sequence[str]
    """How the scores were computed, where that is not as usual."""
    link: str
    written: str


def page(contents: Contents) -> bytes:
    """The report as an HTML document in UTF-8."""
    style = (HERE / "report.css").read_text(encoding="utf-8")
    body = "".join(
        [
            _head(contents),
            f"<section><h2>The prediction</h2>{contents.prediction}</section>",
            _lists(contents),
            f'<section class="pair"><div><h2>All scores</h2>{histogram(contents.spread)}</div>'
            f"<div><h2>Totals by {for_html(contents.summed_by)}</h2>{totals(contents.totals)}</div></section>",
            _notes(contents),
            _identity(contents),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><meta name="color-scheme" content="light dark">'
        f"<title>{for_html(contents.question)} · Upstream</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    ).encode()


def _head(contents: Contents) -> str:
    logo = f'<img src="{pictures.svg_url(HERE.parent / "logo.svg")}" alt="">'
    link = f'<p class="quiet link">{_link(contents.link)}</p>'
    return (
        f'<header><p class="brand">{logo}Upstream <span class="quiet">run {for_html(contents.run)} · '
        f"{for_html(contents.identity)}</span></p><h1>{for_html(contents.question)}</h1>"
        f'<p class="quiet">Written {for_html(contents.written)}</p>{link}</header>'
    )


def _link(link: str) -> str:
    shown = for_html(link)
    return f'<a href="{shown}">{shown}</a>' if link.startswith(("http://", "https://")) else shown


def rule(stage: str, explained: str) -> str:
    """The sign rule as HTML."""
    return (
        f'<p class="rule"><span class="helpful">{theme.HELPFUL} <b>Helpful</b></span>: leaving this example out of '
        f"{for_html(stage)} is predicted to <em>raise</em> {for_html(explained)}. "
        f'<span class="harmful">{theme.HARMFUL} <b>Harmful</b></span>: to <em>lower</em> it.</p>'
    )


def _lists(contents: Contents) -> str:
    narrowed = "".join(f'<p class="quiet">{for_html(text)}</p>' for text in contents.narrowed)
    chosen = contents.cards.get("chosen")
    own = (
        f'<div class="list"><h3>{for_html(chosen["title"])}</h3><ol>{card(chosen["card"])}</ol></div>' if chosen else ""
    )
    said = "".join(f'<p class="quiet">{for_html(text)}</p>' for text in contents.sentences)
    columns = "".join(_column(column) for column in contents.cards["columns"])
    lost = "".join(f"<li>{for_html(reason)}</li>" for reason in contents.order_only)
    warned = f"<p><b>Order only</b>: how large these scores are means nothing.</p><ul>{lost}</ul>" if lost else ""
    return (
        f"<section><h2>Where it came from</h2>{rule(contents.stage, contents.explained)}{warned}{narrowed}"
        f'{_legend(contents.cards.get("legend") or {})}{own}<div class="columns">{columns}</div>{said}</section>'
    )


def _column(column: Mapping[str, Any]) -> str:
    cards = "".join(map(card, column["cards"])) or f'<li class="quiet">{for_html(column["empty"])}</li>'
    unit = f' <span class="quiet">{for_html(column["unit"])}</span>' if column["unit"] else ""
    heading = f'<h3><span class="{_sign(column)}">{column["symbol"]}</span> {for_html(column["title"])}{unit}</h3>'
    return f'<div class="list">{heading}<ol>{cards}</ol></div>'


def card(item: Mapping[str, Any]) -> str:
    """One example as a list item."""
    picture = f'<img src="{for_html(item["image"])}" alt="{for_html(item["alt"])}">' if item.get("image") else ""
    text = f'<p class="passage" dir="auto">{"".join(map(piece, item["pieces"]))}</p>' if item.get("pieces") else ""
    near, noted = item.get("near", ""), item.get("noted", "")
    marks = f' <span class="quiet">{for_html(" ".join(filter(None, (near, noted and "✎ noted"))))}</span>'
    return (
        f'<li class="card">{picture}<div><p><b dir="auto">{for_html(item["label"])}</b> '
        f'<span class="quiet" dir="auto">{for_html(item["detail"])}</span>{marks if near or noted else ""}</p>'
        f'<p class="score {_sign(item)}" title="{for_html(item["full"])}"><span class="track">'
        f'<span class="bar" style="width:{100 * item["width"]:.1f}%"></span></span>'
        f"<span>{for_html(item['score'])}</span></p></div>{text}</li>"
    )


def piece(part: Mapping[str, Any]) -> str:
    """A part of a text: shaded by its share, underlined where the query has the word, dimmed where it was not read."""
    kinds = ["shared"] * bool(part.get("shared")) + ["unread"] * bool(part.get("unread"))
    style = ""
    if part.get("weight"):
        kinds += ["share", _sign(part)]
        style = f' style="--weight:{float(part["weight"]):.3f}"'
    title = f' title="{for_html(part["title"])}"' if part.get("title") else ""
    note = '<span class="mark">not read by the model</span> ' if part.get("unread") else ""
    shown = for_html(part["text"])
    return f'{note}<span class="{" ".join(kinds)}"{style}{title}>{shown}</span>' if kinds or title else shown


def _legend(legend: Mapping[str, Any]) -> str:
    parts = []
    if legend.get("shading"):
        parts += [
            f'<span class="share {sign}" style="--weight:1">{for_html(legend[sign])}</span>'
            for sign in ("helpful", "harmful")
        ] + [for_html(legend["shading"])]
    if legend.get("shared"):
        parts.append(f'<span class="shared">{for_html(legend["shared"])}</span>')
    if legend.get("missing"):
        parts.append(for_html(legend["missing"]))
    return f'<p class="quiet legend">{" · ".join(parts)}</p>' if parts else ""


def _sign(item: Mapping[str, Any]) -> str:
    """The item's sign as the name of a class; nothing that data could have made up."""
    return str(item["sign"]) if item.get("sign") in ("helpful", "harmful") else "single"


def histogram(data: Mapping[str, Any]) -> str:
    """Counts on a log axis as SVG, with a tick below for each listed example."""
    counts, most = data["counts"], max(1, *data["counts"])

    def y(count: float) -> float:
        return BASE - (math.log10(count) + 0.35) / (math.log10(most) + 0.35) * (BASE - TOP)

    inner, parts = WIDTH - LEFT - RIGHT, []
    wide = inner / len(counts)
    for decade in (10**power for power in range(int(math.log10(most)) + 1)):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(decade):.1f}" y2="{y(decade):.1f}"/>')
        parts.append(f'<text class="end" x="{LEFT - 5}" y="{y(decade) + 4:.1f}">{decade:,}</text>')
    for place, (count, title) in enumerate(zip(counts, data["bins"], strict=True)):
        if count:
            box = f'x="{LEFT + place * wide:.1f}" width="{wide - 0.6:.1f}" y="{y(count):.1f}"'
            parts.append(
                f'<rect class="bin" {box} height="{BASE - y(count):.1f}"><title>{for_html(title)}</title></rect>'
            )
    parts.append(_upright("zero", 0.5, (TOP, TICKS[1])))
    parts += [_upright(f"tick {_sign(tick)}", tick["at"], TICKS, tick["title"]) for tick in data["ticks"]]
    for at, anchor, text in ((0, "", data["low"]), (0.5, "middle", "0"), (1, "end", data["high"])):
        parts.append(f'<text class="{anchor}" x="{LEFT + at * inner:.1f}" y="{HEIGHT - 8}">{for_html(text)}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{for_html(data["alt"])}">{"".join(parts)}</svg>'


def _upright(name: str, at: float, between: tuple[int, int], title: str = "") -> str:
    x = f"{LEFT + at * (WIDTH - LEFT - RIGHT):.1f}"
    told = f"<title>{for_html(title)}</title>" if title else ""
    return f'<line class="{name}" x1="{x}" x2="{x}" y1="{between[0]}" y2="{between[1]}">{told}</line>'


def totals(rows: Sequence[Mapping[str, Any]]) -> str:
    """Harmful and helpful sums as a table with bars to both sides of one line."""
    lines = [
        f'<tr title="{for_html(row["title"])}"><th scope="row" dir="auto">{for_html(row["name"])}</th>'
        f"<td>{for_html(row['harmful'])}</td>"
        f'<td class="half left harmful"><span style="width:{100 * row["harmful_width"]:.1f}%"></span></td>'
        f'<td class="half helpful"><span style="width:{100 * row["helpful_width"]:.1f}%"></span></td>'
        f"<td>{for_html(row['helpful'])}</td></tr>"
        for row in rows
    ]
    head = (
        f'<tr><td></td><th scope="col" colspan="2">{theme.HARMFUL} harmful</th>'
        f'<th scope="col" colspan="2">{theme.HELPFUL} helpful</th></tr>'
    )
    return f'<table class="totals">{head}{"".join(lines)}</table>'


def _notes(contents: Contents) -> str:
    return f"<section><h2>Notes</h2>{_pairs(contents.notes)}</section>" if contents.notes else ""


def _identity(contents: Contents) -> str:
    warnings = "".join(f"<li>{for_html(text)}</li>" for text in contents.warnings)
    told = f"<h3>Warnings</h3><ul>{warnings}</ul>" if warnings else '<p class="quiet">The run has no warnings.</p>'
    remarks = "".join(f"<li>{for_html(text)}</li>" for text in contents.remarks)
    computed = f"<h3>How the scores were computed</h3><ul>{remarks}</ul>" if remarks else ""
    return f"<section><h2>The run</h2>{_pairs(contents.facts)}{told}{computed}</section>"


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{for_html(a)}</dt><dd dir='auto'>{for_html(b)}</dd>" for a, b in pairs) + "</dl>"
