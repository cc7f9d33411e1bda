"""The report of a computation: damping, residuals, parameters that are not covered, memory, warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from influence.attribution.chain import Chain
from influence.attribution.misstatement import inherits_line
from influence.curvature.cards import IDENTITY
from influence.curvature.method import UNKNOWN_ERROR
from influence.derivatives import Objective
from influence.errors import listed
from influence.run.records import NAT, ORDER_ONLY

MAX_ERROR = 0.02
"""Estimated relative error of a query's scores that needs no warning."""
MEANINGLESS = 0.5
"""Estimated relative error from which on their size means nothing."""


def report_of(chain: Chain, method: str) -> dict[str, Any]:
    """The report of `attribute` without its seconds: what each stage's solver reports, notes and warnings."""
    warnings, order_only = warnings_of(chain)
    return {
        "method": method,
        "unit": unit_of(method, order_only),
        "order_only": order_only,
        "stages": [s.report | each.report() for s, each in zip(chain.solvers, chain.stationarities, strict=True)],
        "not_covered": {o.stage.name: list(o.groups.constant) for o in chain.objectives if o.groups.constant},
        "without_rule": {
            o.stage.name: sorted(o.remarks.without_rule) for o in chain.objectives if o.remarks.without_rule
        },
        "compression": chain.objectives[0].remarks.compression,
        "notes": sorted(note for o in chain.objectives for note in o.remarks.notes),
        "warnings": warnings,
        "peak_memory": peak_memory(),
    }


def warnings_of(chain: Chain) -> tuple[list[str], list[str]]:
    """What makes the scores something else than they claim, as far as is known by now, and what takes their unit."""
    warnings = [warning for o in chain.objectives for warning in sorted(o.remarks.warnings)]
    order_only = [warning for o in chain.objectives for warning in sorted(o.remarks.order_only)]
    for objective, solver, stationarity in zip(chain.objectives, chain.solvers, chain.stationarities, strict=True):
        warnings += stationarity.warnings
        stage, groups = objective.stage, objective.groups
        loose, lost = solve_warnings(stage.name, solver.report)
        warnings += loose
        order_only += loose if lost else []
        if objective is not chain.objectives[0] and groups.held and stage.proximity == 0:
            warnings.append(
                f"Stage {stage.name!r} trains {len(groups.held)} inherited parameters with proximity "
                "0: by the theory its minimum has forgotten "
                "where they started, so nothing flows back through them. Set `proximity`."
            )
        if objective is not chain.objectives[0]:
            before = chain.objectives[chain.objectives.index(objective) - 1]
            warnings += frozen_warnings(objective, before) + integer_warnings(objective, before)
        off = [n for n, p in stage.model.named_parameters() if not p.requires_grad and n in objective.trained.shapes]
        if off:
            warnings.append(
                f"Stage {stage.name!r}: {listed(off)} have "
                "requires_grad=False but are not in `frozen`, so they count as trained. Where they were not: "
                "frozen=[n for n, p in model.named_parameters() if not p.requires_grad]."
            )
    return warnings, sorted(set(order_only))


def unit_of(method: str, order_only: Sequence[str]) -> str:
    """`NAT`, or `ORDER_ONLY` where the method has no unit, or warnings take it."""
    return ORDER_ONLY if method == IDENTITY.name or order_only else NAT


def solve_warnings(stage: str, report: Mapping[str, Any]) -> tuple[list[str], bool]:
    """A warning if solves leave an error in the scores of a stage, and whether it takes the unit."""
    loose = [error for error in report.get("score_error", []) if error > MAX_ERROR]
    if not loose:
        return [], False
    of = f"{len(loose)} of {len(report['score_error'])} queries are not converged at stage {stage!r}"
    remedy = report.get("remedy", "raise `iterations` or `damping`")
    worst = max(loose)
    size = f"about {worst:.2g} times their size" if worst < UNKNOWN_ERROR else "more than can be estimated"
    lost = worst > MEANINGLESS
    meaning = ", so that their size means nothing" if lost else ""
    left = f"by an estimate the solves leave an error of {size} in the scores of the worst{meaning}"
    return [f"{of}: {left}; {remedy}."], lost


def frozen_warnings(here: Objective, before: Objective) -> list[str]:
    """A warning if frozen parameters differ from the inherited values."""
    gaps = {}
    for name in here.groups.frozen:
        inherited = before.parameters[here.groups.inherited[name]]
        gap = float((here.parameters[name] - inherited).abs().max())
        if gap > 1e-5 * max(1.0, float(inherited.abs().max())):
            gaps[name] = gap
    if not gaps:
        return []
    rest = {n: origin for n, origin in here.groups.inherited.items() if n not in gaps}
    return [
        f"Stage {here.stage.name!r}: {listed(gaps, ' and ')} in `frozen` differ from stage {before.stage.name!r} by up "
        f"to {max(gaps.values()):.2g}. Were they trained, or is this another model?"
        + (f" If they were begun anew, state {inherits_line(rest, here)}." if rest else "")
    ]


def integer_warnings(here: Objective, before: Objective) -> list[str]:
    """A warning if parameters of the stage before stand here as integers, and so cannot be inherited."""
    trained = before.trained.shapes
    left = {trained[name] for name in trained if name not in here.groups.inherited.values()}
    whole = {n: p for n, p in here.model.named_parameters() if n not in here.parameters}
    lost = [name for name, parameter in whole.items() if parameter.shape in left]
    if not lost:
        return []
    return [
        f"Stage {here.stage.name!r}: {listed(lost)} are integers, of shapes that were trained in stage "
        f"{before.stage.name!r}. Integers have no derivative, so what flows back through them is missing. Give the "
        "stage the model with its weights not quantised."
    ]


def peak_memory() -> int:
    """Peak resident memory of this process, in bytes."""
    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):
        return int(info.peak_wset)
    import resource  # absent on Windows, where psutil gives the peak

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
