"""A study from a user's Python file: `path/to/file.py:function`."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from influence.errors import StudyError, UpstreamError
from influence.run.asked import REFERENCE
from influence.studies.exhibit import Exhibit
from influence.study.study import Study


def from_file(reference: str, **changes: Any) -> Exhibit:
    """The Exhibit that the function of `path/to/file.py:function` returns, or one of the Study that it returns.

    Args:
        reference: file and function; the function takes no arguments and returns trained models.
        changes: attributes of the Exhibit to be other than the function says.

    Raises:
        StudyError: the file or the function is missing, it fails, or it returns something else.
    """
    match = REFERENCE.fullmatch(reference)
    assert match is not None
    path, name = Path(match["path"]), match["function"]
    if not path.is_file():
        raise StudyError(f"There is no file {path}. Give FILE.py:FUNCTION.")
    module = _guarded(path, "is read", lambda: _imported(path))
    function = getattr(module, name or "", None)
    if not callable(function):
        own = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
        raise StudyError(
            f"{path} has no function {name!r}; it has {', '.join(own) or 'none'}. Give {path}:FUNCTION, which returns "
            "a Study or an Exhibit."
            if name
            else f"Which function of {path}? It has {', '.join(own) or 'none'}. Give {path}:FUNCTION."
        )
    made = _guarded(path, f"runs {name}()", function)
    if not isinstance(made, Study | Exhibit):
        raise StudyError(f"{path}:{name} returned a {type(made).__name__}, expected a Study or an Exhibit.")
    exhibit = _guarded(path, "looks at its examples", lambda: Exhibit(made)) if isinstance(made, Study) else made
    for attribute, value in changes.items():
        setattr(exhibit, attribute, value)
    return exhibit


def _imported(path: Path) -> ModuleType:
    # As `python file.py` would: what lies beside the file can be imported. A name of its own keeps it from hiding, or
    # being, a module that is there already.
    name = f"_upstream_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _guarded(path: Path, doing: str, action: Callable[[], Any]) -> Any:
    """The action's result. An exception in it becomes a StudyError with the traceback of the user's lines only."""
    try:
        return action()
    except (Exception, SystemExit) as error:
        if isinstance(error, UpstreamError) and not _own(path, error):
            raise  # about what was returned, and says itself what to do
        raise StudyError(f"{path} failed while upstream {doing}:\n{_traceback_lines(path, error)}") from error


def _traceback_lines(path: Path, error: BaseException) -> str:
    lines = [f'  File "{f.filename}", line {f.lineno}, in {f.name}\n    {f.line}' for f in _own(path, error)[-8:]]
    return "\n".join([*lines, "".join(traceback.format_exception_only(error)).rstrip()])


def _own(path: Path, error: BaseException) -> list[traceback.FrameSummary]:
    """The frames from the first one in the user's file on."""
    frames = list(traceback.extract_tb(error.__traceback__))
    own = [i for i, frame in enumerate(frames) if Path(frame.filename).resolve() == path.resolve()]
    return frames[own[0] :] if own else []
