"""Odd manifests: 60 that somebody thought of and 150 by random change, each with a checksum that holds."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pages import ADDRESSES
from readers import FIRST_PAGES, read_all
from situation import Situation
from strangers import PICTURES, copied, template

from influence.run.files import manifest_checksum

Told = dict[str, Any]
RANDOM = 150
QUICK_EVERY = 8
"""Of the odd manifests one in so many is tried in the suite."""


def sealed(told: Told) -> str:
    """run.json with the checksum of what it says, as a stranger would write it."""
    return json.dumps(told | {"checksum": manifest_checksum(told)})


# What is odd


def put(*path: str | int, value: Any) -> Callable[[Told], None]:
    """Change one value of the manifest; `...` takes it away."""

    def change(told: Told) -> None:
        *way, last = path
        for step in way:
            told = told[step]  # type: ignore[index]
        if value is ...:
            del told[last]  # type: ignore[arg-type]
        else:
            told[last] = value  # type: ignore[index]

    return change


HUGE, DEEP = 10**18, "[" * 90 + "]" * 90
TEXTS = {
    "markup": "<img src=x onerror=alert(1)>**b**`$x$[a](javascript:1)",
    "nul": "a\0b",
    "escape": "\x1b[2J\x1b]0;x\x07",
    "long": "x" * 1_000_000,
    "turned": "\u202egnp.exe",
    "lines": "a\nb\r\nc\u2028d",
    "emoji": "\N{FAMILY}" * 50,
}
CHANGES: dict[str, Callable[[Told], None]] = {
    **{f"title {name}": put("title", value=text) for name, text in TEXTS.items()},
    **{f"variant {name}": put("variant", value=text) for name, text in TEXTS.items()},
    **{f"classes {name}": put("stages", 1, "classes", value=[text, "7", "8"]) for name, text in TEXTS.items()},
    "stages of text": put("stages", value=["a"]),
    "stages deep": put("stages", value=json.loads(DEEP)),
    "no stages": put("stages", value=[]),
    "one stage": lambda told: told["stages"].pop(),
    "stages turned round": lambda told: told["stages"].reverse(),
    "a stage twice": lambda told: told["stages"].append(told["stages"][0]),
    "many classes": put("stages", 1, "classes", value=[str(n) for n in range(50_000)]),
    "classes twice": put("stages", 1, "classes", value=["7", "7", "7"]),
    "no classes": put("stages", 1, "classes", value=[]),
    "classes of objects": put("stages", 1, "classes", value=[{"a": [1]}, None, 7]),
    "a class too few": put("stages", 1, "classes", value=["7", "8"]),
    "count negative": put("stages", 0, "examples", value=-5),
    "count huge": put("stages", 0, "examples", value=HUGE),
    "count true": put("stages", 0, "examples", value=True),
    "count a list": put("stages", 0, "examples", value=[60]),
    "accuracy 17": put("stages", 1, "test_accuracy", value=17),
    "accuracy text": put("stages", 1, "test_accuracy", value="much"),
    "accuracy huge": put("stages", 1, "test_accuracy", value=HUGE),
    "loss huge": put("stages", 0, "loss", value=1e308),
    "l2 text": put("stages", 0, "l2", value={"*": "strong"}),
    "training odd": put("stages", 0, "training", value={"gradient_norm": -1, "iterations": -3, "converged": "yes"}),
    "parameters odd": put("stages", 0, "parameters", value={"new": [["w"], None], "frozen": "weight"}),
    "scores none": put("scores", value=[]),
    "scores without a file": put("scores", 0, "file", value=...),
    "scores of another stage": put("scores", 0, "stage", value="other"),
    "scores of the other array": put("scores", 0, "file", value="scores/finetune-exact.zarr"),
    "scores twice": lambda told: told["scores"].append(told["scores"][0]),
    "report odd": put("scores", 0, "report", value={"damping": "much", "curvature": [1], "compression": [], "unit": 5}),
    "report deep": put("scores", 0, "report", value={"damping": 1e308, "x": json.loads(DEEP[40:-40])}),
    "report huge": put("scores", 0, "report", value={"residuals": [HUGE] * 50_000, "score_error": [-1]}),
    "score_error short": put("scores", 0, "report", value={"score_error": [0.5]}),
    "order only without why": put("scores", 0, "report", value={"unit": "order only"}),
    "another default method": put("default_method", value="lissa"),
    "map of another stage": put("map", "stage", value="finetune"),
    "map a list": put("map", value=["pretrain"]),
    "map deep": put("map", "algorithm", value=json.loads(DEEP)),
    "created no date": put("created", value="the day before"),
    "created year 0": put("created", value="0000-00-00T00:00:00Z"),
    "created number": put("created", value=5),
    "seed huge": put("seed", value=2**63),
    "seed negative": put("seed", value=-(2**63)),
    "memory negative": put("peak_memory", value=-(10**15)),
    "timings odd": put("timings", value={"training <b>": -1, "\x1b[2J": HUGE}),
    "versions odd": put("versions", value={"python": [1, {"a": None}], "<b>": None}),
    "many warnings": put("warnings", value=["<b>w</b>"] * 20_000),
    "warnings of objects": put("warnings", value=[{}, [[]], None, 5]),
    "pending everything": put("pending", value=["map", "shares", "exact", "other"]),
    "pending odd": put("pending", value=[{"a": 1}]),
    "shares odd": put("shares", value={"pretrain-exact": -5}),
    "validation of a file that is none": put("validation", value={"summary": "queries.parquet"}),
    "validation of an unknown check": put("validation", value={"x": "validation/x-0123456789ab.parquet"}),
    "asked odd": put("asked", value={"study": ["digits"], "options": 5}),
    "another name": put("name", value="small"),
    "name with dots": put("name", value="..."),
    "format a float": put("format", value=1.0),
    "format true": put("format", value=True),
    "format of the future": put("format", value=10**9),
    "file in another case": lambda told: told["files"].update({"QUERIES.parquet": "0" * 64}),
    "file with a trailing dot": lambda told: told["files"].update({"queries.parquet.": "0" * 64}),
    "file of a device of Windows": lambda told: told["files"].update(
        {"NUL": "0" * 64, "examples/con.parquet": "0" * 64}
    ),
    "file with a drive": lambda told: told["files"].update({"C:x": "0" * 64}),
    "file in a folder that is a file": lambda told: told["files"].update({"queries.parquet/x": "0" * 64}),
    "files by the thousand": lambda told: told["files"].update({f"x{n}": "0" * 64 for n in range(20_000)}),
}
TEXTS_OF_FILES: dict[str, Callable[[Told], str]] = {
    "brackets": lambda told: "[" * 200_000,
    "objects": lambda told: '{"a":' * 200_000,
    "many values": lambda told: "[" + "[]," * 3_000_000 + "0]",
    "NaN": lambda told: sealed(told | {"seed": float("nan")}),
    "Infinity": lambda told: sealed(told | {"timings": {"x": float("inf")}}),
    "1e400": lambda told: sealed(told | {"peak_memory": 12345}).replace("12345", "1e400"),
    "an integer of 5,000 digits": lambda told: sealed(told | {"seed": 12345}).replace("12345", "1" * 5000),
    "an integer of 400 digits": lambda told: sealed(told | {"seed": 12345}).replace("12345", "1" * 400),
    "a name twice": lambda told: sealed(told).replace('"title"', '"title": "x", "title"', 1),
    "half a character": lambda told: sealed(told | {"title": "\ud800"}),
    "a name of half a character": lambda told: sealed(told | {"\udfff": 1}),
    "nothing": lambda told: "",
    "a number": lambda told: "5",
    "a list": lambda told: "[]",
    "null": lambda told: "null",
    "UTF-16": lambda told: "\ufeff" + sealed(told),
    "two objects": lambda told: sealed(told) * 2,
    "cut off": lambda told: sealed(told)[:-30],
    "another checksum": lambda told: json.dumps(told | {"checksum": "0" * 64}),
    "40 MB": lambda told: sealed(told | {"summary": "x" * 40_000_000}),
}
REFUSED = {
    *TEXTS_OF_FILES,
    "stages of text",
    "stages deep",
    "no stages",
    "a stage twice",
    "scores without a file",
    "pending odd",
    "created number",
    "validation of a file that is none",
    "validation of an unknown check",
    "name with dots",
    "format a float",
    "format true",
    "format of the future",
    "file with a trailing dot",
    "file with a drive",
    "file in a folder that is a file",
    "files by the thousand",
    "file in another case",
    "file of a device of Windows",
}
"""No run, and told so; the others are runs, with what is odd left out or shown as it is."""


def told_of_template() -> Told:
    told: Told = json.loads((template(PICTURES) / "odd" / "run.json").read_text())
    del told["checksum"]
    return told


def check_odd(name: str, pages: tuple[str, ...], folder: Path) -> None:
    root, told = copied(PICTURES, folder), told_of_template()
    if name in CHANGES:
        CHANGES[name](told)
    text = sealed(told) if name in CHANGES else TEXTS_OF_FILES[name](told)
    (root / "odd" / "run.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    said = read_all(root, "odd", pages)
    assert ("all as they were written" not in said) or name not in REFUSED, said


# What is odd by chance

ODD_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**62,
    -(2**62),
    1e308,
    -1e-308,
    0.5,
    "",
    "x",
    "\0",
    "..",
    "/etc/passwd",
    "<b>",
    "x" * 500,
    [],
    [[]],
    [None],
    ["a", "a"],
    {},
    {"a": {}},
    [1, "a", None],
    {"": ""},
]


def places(told: Any, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where values stand in a manifest."""
    found = [way] if way else []
    if isinstance(told, dict | list):
        each = told.items() if isinstance(told, dict) else enumerate(told)
        found += [place for name, value in each for place in places(value, (*way, name))]
    return found


def changed_by_chance(seed: int) -> Told:
    """The manifest with one to four values replaced, taken away or set beside others."""
    chance, told = random.Random(seed), told_of_template()
    for _ in range(chance.randint(1, 4)):
        files = chance.random() < 0.1
        way = chance.choice([w for w in places(told) if files or w[0] != "files"])
        value = chance.choice([*map(copy.deepcopy, ODD_VALUES), ...])
        put(*way, value=value)(told)
    return told


def check_chance(seed: int, pages: tuple[str, ...], folder: Path) -> None:
    root = copied(PICTURES, folder)
    (root / "odd" / "run.json").write_text(sealed(changed_by_chance(seed)))
    read_all(root, "odd", pages)


ODD = (*CHANGES, *TEXTS_OF_FILES)
SITUATIONS = (
    [Situation("manifests", name, partial(check_odd, name, ADDRESSES)) for name in ODD]
    + [Situation("manifests", f"by chance {seed}", partial(check_chance, seed, ADDRESSES)) for seed in range(RANDOM)]
    + [
        Situation("manifests, first pages", name, partial(check_odd, name, FIRST_PAGES), quick=True)
        for name in ODD[::QUICK_EVERY]
    ]
)
