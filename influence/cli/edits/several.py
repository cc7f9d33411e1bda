"""`Several`: a command with options that take several values, and one RUN that may stand anywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperOption

from influence.errors import StudyError

FORMS = {
    "--leave-out": "ID",
    "--relabel": "ID=CLASS",
    "--upweight": "ID=BY",
    "--mask": "ID=LEFT,TOP,WIDTH,HEIGHT",
    "--strike": "ID=WORD",
    "--take-back": "ID=RULE",
    "--add": "FILE or ID",
}
"""Option -> the form of its values. An id may stand behind its stage: STAGE:ID."""
_ID = r"([^:=]+:)?-?\d+"


class Several(TyperCommand):
    """A command whose options of `FORMS` take the value behind them, and all further ones that look like theirs.

    What looks like none is RUN, as long as RUN did not stand before.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        single = {
            name
            for option in self.params
            if isinstance(option, TyperOption) and not option.is_flag
            for name in option.opts
        }
        return super().parse_args(ctx, _spread(args, single - FORMS.keys()))


def _spread(args: list[str], single: set[str]) -> list[str]:
    """Arguments with each value behind an option of its own; options of `single` have one value anyway."""
    found, option, run, rest = list[str](), "", False, list(args)
    while rest and rest[0] != "--":
        argument = rest.pop(0)
        name, sign, value = argument.partition("=")
        if name in FORMS:
            if not sign and (not rest or rest[0].startswith("--")):
                raise StudyError(f"{name} has no value, expected {FORMS[name]} after it.")
            option = name
            found += [name, value if sign else rest.pop(0)]
        elif argument.startswith("--"):
            option = ""
            found += [argument, *(rest.pop(0) for _ in range(argument in single and bool(rest)))]
        elif option and (run or _looks_like(argument, option)):
            found += [option, argument]
        else:
            option, run = "", True
            found.append(argument)
    return found + rest


def _looks_like(argument: str, option: str) -> bool:
    """Whether an argument could be a value of an option: of its form, or a file or folder that is no run."""
    if option == "--add" and not re.fullmatch(_ID, argument):
        path = Path(argument.partition(":")[2] or argument)
        return (path.exists() or Path(argument).exists()) and not (Path(argument) / "run.json").exists()
    return bool(re.match(_ID + ("=" if "=" in FORMS[option] else "$"), argument))
