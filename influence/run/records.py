"""run.json as typed records, field by field as CONTRACT.md states them; parsed and checked here when a run is opened.

A field without a default has to be there. A field with one may be left out, be null, be of another kind or out of its
range: the default then stands for it. Keys that no record knows are ignored.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from influence.errors import RunError
from influence.run.files import (
    DIGEST,
    LISTED_FILE,
    NAME,
    QUERIES_FILE,
    SCORES_FILE,
    STAGE_NAME,
    examples_file,
    groups_file,
    is_check_file,
    manifest_checksum,
    model_file,
    sample_file,
    scores_file,
    slices_method,
    strongest_file,
    totals_file,
)

FORMAT = 1
SIGN = (
    "score[t, z] is the predicted change of query t's loss, in nats, if training example z had been left out. "
    "Positive = leaving it out hurts = helpful. Negative = harmful."
)


NAT = "nat"
ORDER_ONLY = "order only"
"""The unit of scores whose size means nothing: only their order within a query does."""


Count = Annotated[int, (0, 2**63 - 1)]
Share = Annotated[float, (0.0, 1.0)]
Amount = Annotated[float, (0.0, math.inf)]
"""Numbers with the range that they lie in."""


def _anything(_: Any) -> bool:
    return True


def _is_number(told: Any) -> bool:
    return isinstance(told, int | float) and not isinstance(told, bool)


def _are(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda told: isinstance(told, list | tuple) and all(map(fits, told))


REPORT: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("unit", "curvature"), lambda told: isinstance(told, str)),
    **dict.fromkeys(("damping", "seconds"), _is_number),
    "trainings": lambda told: isinstance(told, int) and not isinstance(told, bool) and told > 0,
    **dict.fromkeys(("residuals", "score_error"), _are(_is_number)),
    "order_only": _are(lambda told: isinstance(told, str)),
    "compression": lambda told: isinstance(told, Mapping) and _is_number(told.get("error", 0)),
}
"""Entry of a method's report that readers use -> whether it is of its kind."""


@dataclasses.dataclass(frozen=True)
class ParameterNames:
    """Names of a stage's parameters: the groups F (frozen), P (proximity), N (new), and what is in no score."""

    frozen: tuple[str, ...] = ()
    proximity: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Training:
    """How a stage's training went and ended; None: not known. `by_steps`: it took the steps of a mini-batch recipe."""

    gradient_norm: Amount | None = None
    objective: float | None = None
    iterations: Count | None = None
    converged: bool | None = None
    seconds: Amount | None = None
    by_steps: bool | None = None


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """One stage; losses in nats, accuracies from 0 to 1, None: not known. Without `classes` it is no classifier."""

    name: str
    examples: Count = 0
    classes: tuple[str, ...] = ()
    parameters: ParameterNames = ParameterNames()
    l2: float | Mapping[str, float] | None = None
    proximity: float | None = None
    loss: float | None = None
    accuracy: Share | None = None
    test_accuracy: Share | None = None
    training: Training = Training()
    smallest_curvature: float | None = None


@dataclasses.dataclass(frozen=True)
class ScoreRecord:
    """One score array: the path of its file in the run, and what its method reports.

    `strongest`: so many scores of either sign are kept of every query, and all of a sample of the examples, which the
    array is of; 0: all are kept. `slices`: of the queries, over which each example's scores are summed.
    """

    stage: str
    method: str
    file: str
    report: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    strongest: Count = 0
    slices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Entries of another kind than `REPORT` says are left out, as fields are.
        kept = {name: value for name, value in self.report.items() if REPORT.get(name, _anything)(value)}
        object.__setattr__(self, "report", kept)


@dataclasses.dataclass(frozen=True)
class MapRecord:
    """Which stage's examples have a place on the map, how it was computed and of what; all "": there is no map."""

    stage: str = ""
    algorithm: str = ""
    of: str = ""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All of run.json. Whoever writes a run leaves out `FILLED` and `checksum`: `Draft.finish` knows them."""

    study: str
    variant: str
    title: str
    created: str
    default_method: str
    stages: tuple[StageRecord, ...]
    scores: tuple[ScoreRecord, ...]
    map: MapRecord
    name: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    checksum: str = ""
    format: int = FORMAT
    summary: str = ""
    asked: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int | None = None
    sign: str = SIGN
    unit: str = "nat"
    measure: str = ""
    shares: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    validation: Mapping[str, str] = dataclasses.field(default_factory=dict)
    timings: Mapping[str, Amount] = dataclasses.field(default_factory=dict)
    peak_memory: Count = 0
    versions: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    imported: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Of a run of another tool's scores: `tool`, `scores`, `helpful`. Such a run has no models; empty: it has them."""

    @property
    def settled(self) -> bool:
        """Whether no stage is known to have stopped short of a minimum."""
        return all(stage.training.converged is not False for stage in self.stages)


FILLED = ("name", "settings", "files")
"""Fields of the manifest that `Draft.finish` fills in, and that have to be there in run.json."""
JSON_KINDS: dict[Any, Any] = {str: str, int: int, float: (int, float), bool: bool}
"""Kind of a field -> kinds of the JSON values that it takes."""
FIELDS: dict[Any, dict[str, Any]] = {
    record: get_type_hints(record, include_extras=True)
    for record in (ParameterNames, Training, StageRecord, ScoreRecord, MapRecord, Manifest)
}
"""Record -> field -> its kind."""
ABSENT: Any = object()


def manifest_of(told: Mapping[str, Any], folder: Path) -> Manifest:
    """The manifest of the run in `folder` from run.json, already read as `told`.

    Raises:
        RunError: a field or a file that has to be there is not, a name or path is not of the form that CONTRACT.md
            gives, or the checksum does not hold.
    """
    lacking = [name for name in FILLED if _value(FIELDS[Manifest][name], told.get(name), name, []) is ABSENT]
    manifest = _record(Manifest, told, "", lacking)
    if manifest is not None and not manifest.stages:
        lacking.append("stages")
    if manifest is not None and not lacking:
        lacking = [name for name in _needed_files(manifest) if name not in manifest.files]
    if manifest is None or lacking:
        raise RunError(f"run.json in {folder} lacks {', '.join(lacking)}. Delete the folder and compute it again.")
    for what, name, fits in _names(manifest):
        if not fits:
            raise RunError(
                f"run.json in {folder} gives {name[:100]!r} as {what[:100]}, which CONTRACT.md does not allow. "
                "Upstream wrote no such run; do not use it."
            )
    if manifest.checksum != manifest_checksum(told):
        raise RunError(
            f"run.json in {folder} was changed after it was written. Delete the folder and compute it again."
        )
    return manifest


def _names(manifest: Manifest) -> Iterator[tuple[str, str, object]]:
    """(what it should be, name, whether it is) of every name and path in run.json.

    Only what is of CONTRACT.md's forms is ever opened, written or deleted: a run may come from a stranger.
    """
    yield "the run's name", manifest.name, NAME.fullmatch(manifest.name)
    stages = [stage.name for stage in manifest.stages]
    for stage in stages:
        yield "a stage", stage, STAGE_NAME.fullmatch(stage) and stages.count(stage) == 1
    for record in manifest.scores:
        yield "a stage with scores", record.stage, STAGE_NAME.fullmatch(record.stage)
        yield "a method", record.method, NAME.fullmatch(record.method)
        yield "an array of scores", record.file, SCORES_FILE.fullmatch(record.file)
    yield "the default method", manifest.default_method, NAME.fullmatch(manifest.default_method)
    yield "the stage of the map", manifest.map.stage, manifest.map.stage in ("", *stages)
    for check, file in manifest.validation.items():
        yield "a check", check, NAME.fullmatch(check)
        yield f"the table of check {check}", file, file in manifest.files and is_check_file(file, check)
    for part in manifest.pending:
        yield "a pending part", part, NAME.fullmatch(part)
    for file, digest in manifest.files.items():
        yield "a file", file, LISTED_FILE.fullmatch(file)
        yield f"the sha256 of {file}", digest, DIGEST.fullmatch(digest)


def json_of(manifest: Manifest) -> dict[str, Any]:
    """The object that run.json holds, with its checksum."""
    told = json.loads(json.dumps(dataclasses.asdict(manifest)))
    if manifest.map == MapRecord():
        told["map"] = {}
    return told | {"checksum": manifest_checksum(told)}


def _needed_files(manifest: Manifest) -> list[str]:
    """Files that readers will ask for by the manifest's own word."""
    return [
        QUERIES_FILE,
        *(examples_file(stage.name) for stage in manifest.stages),
        *(model_file(stage.name) for stage in manifest.stages if not manifest.imported),
        *(f"{record.file}/zarr.json" for record in manifest.scores),
        *(file for record in manifest.scores if record.strongest for file in _kept_files(record)),
    ]


def _kept_files(record: ScoreRecord) -> list[str]:
    stage, method = record.stage, record.method
    slices = f"{scores_file(stage, slices_method(method))}/zarr.json"
    return [sample_file(stage), groups_file(stage), strongest_file(stage, method), totals_file(stage, method), slices]


def _record(kind: type[Any], told: Any, where: str, lacking: list[str]) -> Any:
    """The record that a JSON object states; None, with what is missing put into `lacking`, if it states too little."""
    values, found = {}, told if isinstance(told, Mapping) else {}
    for field in dataclasses.fields(kind):
        name = f"{where}.{field.name}" if where else field.name
        value = _value(FIELDS[kind][field.name], found.get(field.name), name, lacking)
        if value is not ABSENT:
            values[field.name] = value
        elif field.default is field.default_factory is dataclasses.MISSING:
            lacking.append(name)
    return None if lacking else kind(**values)


def _value(kind: Any, told: Any, where: str, lacking: list[str]) -> Any:
    """A field's value from JSON; `ABSENT` if that is null or of another kind."""
    if dataclasses.is_dataclass(kind):
        return _record(kind, told, where, lacking) if isinstance(told, dict) else ABSENT  # type: ignore[arg-type]
    if get_origin(kind) is tuple:
        item, given = get_args(kind)[0], isinstance(told, list)
        if item is str or not given:
            return tuple(map(str, told)) if given else ABSENT
        return tuple(_record(item, each, f"{where}[{number}]", lacking) for number, each in enumerate(told))
    if get_origin(kind) is Mapping:
        item = get_args(kind)[1]
        return told if isinstance(told, dict) and all(_fits(item, each) for each in told.values()) else ABSENT
    if get_origin(kind) in (Union, UnionType):
        values = (_value(each, told, where, lacking) for each in get_args(kind) if each is not type(None))
        return next((value for value in values if value is not ABSENT), ABSENT)
    return told if _fits(kind, told) else ABSENT


def _fits(kind: Any, told: Any) -> bool:
    if get_origin(kind) is Annotated:
        kind, (least, most) = get_args(kind)
        return _fits(kind, told) and least <= told <= most
    return kind is Any or (isinstance(told, JSON_KINDS[kind]) and (kind is bool or not isinstance(told, bool)))
