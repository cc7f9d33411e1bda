"""May one believe the lists? A verdict by plain rules on what the checks of a run found."""

from __future__ import annotations

import dataclasses
import math

from explorer.trust import evidence
from explorer.trust.evidence import SCRATCH, SEED_CHANGES, SOLUTION, Figure
from explorer.ui import theme
from influence.run import OWN, Run, slope_of

YES, PARTLY, NO, UNKNOWN = "yes", "partly", "no", "unknown"
MARKS = {YES: theme.RIGHT, PARTLY: "◐", NO: theme.WRONG, UNKNOWN: "?"}

AGREES = (0.7, 0.3)
"""Correlation of single predicted and measured changes, at the low end of its interval: yes from, partly from."""
ORDERS = (0.5, 0.2)
"""Rank correlation of sums over random subsets (LDS): yes from, partly from. Few subsets a query make it smaller."""
STAYS = (0.7, 0.4)
"""Share of a list that stays: yes from, partly from."""
FEWEST_LISTS = 4
"""Predictions whose lists were left out, below which nothing is said."""
FEWEST_EXAMPLES = 5
"""Examples left out below which nothing is said."""
SIZES = ", and their numbers as sizes"
LEADING_FIGURE = "Pearson r, those that lead a list"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One question on a run's scores, the answer as a mark, and its figures in plain words."""

    question: str
    mark: str
    words: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The whole: `level` as a finding's mark, a headline, what to do, and the findings behind it."""

    level: str
    headline: str
    advice: str
    findings: list[Finding]


def of(run: Run) -> Verdict:
    """The verdict on a run; `level` UNKNOWN if too little was checked."""
    start = judged(run)
    alone, sets, lists = single_examples(run, start), whole_sets(run, start), own_lists(run, start)
    beats, settings, again = baselines(run), other_settings(run), another_training(run)
    # Twenty lists of one sign speak against scores that fail them; that they hold is no more than was measured anyway.
    predicts = worst(alone.mark, sets.mark, lists.mark if lists.mark == NO else UNKNOWN)
    level, headline, advice = _whole(predicts, beats.mark, settings.mark, again.mark)
    if evidence.unitless(run):
        shown = slope_of(run, run.manifest.default_method, evidence.stage_of(run))
        told = "lists show them by the slope that was measured" if shown else "read no size from them"
        advice = f"{advice.replace(SIZES, '')} The scores are an order only: {told}."
    return Verdict(level, headline, advice, [alone, sets, lists, beats, settings, again])


def _whole(predicts: str, beats: str, settings: str, again: str) -> tuple[str, str, str]:
    if predicts == UNKNOWN:
        return (
            UNKNOWN,
            "Not known: too little was measured to tell.",
            "Let the check go further (below), and treat every list as a guess until then.",
        )
    if NO in (predicts, beats):
        why = "what retraining did" if predicts == NO else "retraining any better than something simpler"
        return (
            NO,
            f"No: the scores did not predict {why}.",
            "Do not act on these lists. Another method or a smaller damping may do better, and training to a minimum: "
            "see “How the scores were computed” below.",
        )
    if predicts == PARTLY:
        shaky = " They also depend on how they are computed." if settings in (PARTLY, NO) else ""
        return (
            PARTLY,
            "As a spread, not one by one: the scores predict retraining only roughly.",
            f"Trust totals by class and sets of examples more than any single card.{shaky} Really retrain without an "
            "example before you act on it.",
        )
    if again != YES:
        others = (
            "Whether another training of it has the same lists was not checked"
            if again == UNKNOWN
            else "Another training of it has other lists, so do not expect the same examples to matter there"
        )
        return (
            YES,
            "Yes, for this very model: leaving examples out did what the scores say.",
            f"Use the lists to explain this model. {others}; really retrain before you delete data for good.",
        )
    return (
        YES,
        "Yes: leaving examples out did what the scores say.",
        f"Use the order of the lists{SIZES}. Where one example decides something, really retrain "
        "without it to be sure.",
    )


def judged(run: Run) -> str:
    """The way of training again by which scores are judged.

    Of models at a minimum, on from there: that is what scores are the derivative of. Others would train on in any case,
    so that only training from scratch, if it was measured, tells what an example did.
    """
    return SOLUTION if run.manifest.settled or SCRATCH not in evidence.starts(run) else SCRATCH


def fair(run: Run, start: str, mark: str, words: str) -> tuple[str, str]:
    """A no by training on from no minimum is no no: much else changes then, and only from scratch would tell."""
    if mark == NO and start == SOLUTION and not run.manifest.settled:
        return UNKNOWN, f"{words} But these models stop short of a minimum: only training from scratch can tell."
    return mark, words


def worst(*marks: str) -> str:
    """The worst of those that are known."""
    known = [mark for mark in marks if mark != UNKNOWN]
    return max(known, key=(YES, PARTLY, NO).index) if known else UNKNOWN


def graded(value: float, limits: tuple[float, float]) -> str:
    """YES, PARTLY or NO by two limits; UNKNOWN of no number."""
    if not math.isfinite(value):
        return UNKNOWN
    return YES if value >= limits[0] else PARTLY if value >= limits[1] else NO


def single_examples(run: Run, start: str) -> Finding:
    """Leave-one-out, of the examples that lead lists."""
    question = "Does leaving out one example do what its score says?"
    found = evidence.figures(run, "leave-one-out", start)
    r, size = found.get(LEADING_FIGURE), found.get("slope, those that lead a list")
    if r is None or r.count < FEWEST_EXAMPLES:
        return Finding(question, UNKNOWN, _too_few(r, "that lead a list"))
    way = "the models trained from scratch" if start == SCRATCH else "the models trained on from the solution"
    words = f"{r.count} that lead a list were left out, each alone, {way}: r = {_with_interval(r)}"
    if size is None or not math.isfinite(size.value) or evidence.unitless(run):
        words += ". The method has no unit here: only the order is judged."
        return Finding(question, *fair(run, start, graded(r.sure, AGREES), words))
    words += f", and the changes were {theme.number(size.value)} times as large as predicted."
    mark = graded(r.sure, AGREES)
    if not 0.5 <= size.value <= 2 and mark != NO:
        mark = PARTLY
        words += " Believe the order, not the size."
    return Finding(question, *fair(run, start, mark, words))


def whole_sets(run: Run, start: str) -> Finding:
    """Random subsets: the linear datamodeling score."""
    question = "Do scores of many examples add up to what leaving them all out does?"
    found = evidence.figures(run, "subsets", start, "LDS, ")
    if not found:
        return Finding(question, UNKNOWN, "No random subsets were trained on, or too few.")
    marks = [graded(figure.sure, ORDERS) for figure in found.values()]
    told = "; ".join(f"{name}: {_with_interval(figure)}" for name, figure in found.items())
    count = next(iter(found.values())).count
    words = f"Rank correlation (LDS) with the measured losses of {count} random subsets, by what they kept: {told}."
    return Finding(question, *fair(run, start, worst(*marks), words))


def own_lists(run: Run, start: str) -> Finding:
    """Each prediction without its own strongest 1 %, beside simpler scores' lists."""
    question = "Does a prediction get worse without what its list says helps it most?"
    found = evidence.figures(run, "strongest", start, "rise, ")
    own = found.pop(OWN, None)
    if own is None or own.count < FEWEST_LISTS or not math.isfinite(own.value):
        return Finding(question, UNKNOWN, "No lists were left out, or too few.")
    others = {name: figure.value for name, figure in found.items() if math.isfinite(figure.value)}
    best = max(others, key=others.__getitem__, default="")
    words = (
        f"Without the 1 % that helps it most the loss of {own.count} predictions rises by {theme.number(own.value)} "
        "nats more than without a random 1 %"
    )
    words += f"; by the best of {len(others)} simpler lists ({best}) {theme.number(others[best])}." if best else "."
    mark = NO if own.value <= 0 else YES if own.sure > max(0.0, others.get(best, 0.0)) else PARTLY
    return Finding(question, *fair(run, start, mark, words))


def baselines(run: Run) -> Finding:
    """Sanity: the run's own scores beside simpler ones and those of models that learned nothing."""
    question = "Are they better than something simpler?"
    found = evidence.figures(run, "sanity", what="rank correlation, ")
    own = found.pop(OWN, None)
    others = {name: figure for name, figure in found.items() if math.isfinite(figure.value)}
    if own is None or not math.isfinite(own.value) or not others:
        return Finding(question, UNKNOWN, "They were not compared with simpler scores.")
    name, best = max(others.items(), key=lambda pair: pair[1].value)
    clear = own.sure > (best.high if math.isfinite(best.high) else best.value)
    mark = YES if clear else PARTLY if own.value > best.value else NO
    words = (
        f"Their order agrees with what was measured to {_with_interval(own)} (rank correlation), that of the best of "
        f"{len(others)} others ({name}) to {_with_interval(best)}."
    )
    return Finding(question, mark, words)


def other_settings(run: Run) -> Finding:
    """Stability under damping, curvature and method."""
    question = "Would other settings of the computation give the same lists?"
    found = {name: figure for name, figure in _overlaps(run).items() if name not in SEED_CHANGES}
    return _kept(question, found, "No other damping, curvature or method was tried.")


def another_training(run: Run) -> Finding:
    """Stability under seeds, and whether single examples do from scratch what was predicted."""
    question = "Would they hold for another training of the same model?"
    lists = _kept(question, {n: f for n, f in _overlaps(run).items() if n in SEED_CHANGES}, "No other seed was tried.")
    r = evidence.figures(run, "leave-one-out", SCRATCH).get(LEADING_FIGURE)
    if r is None or r.count < FEWEST_EXAMPLES or not math.isfinite(r.value) or judged(run) == SCRATCH:
        return lists
    words = f"From scratch, by the same seed, without one of {r.count} that lead a list: r = {_with_interval(r)}."
    words += _beside_noise(run)
    mark = worst(graded(r.sure, AGREES), lists.mark)
    if mark == YES and lists.mark == UNKNOWN:
        mark = UNKNOWN  # it is the same training again, from its start
    return Finding(question, mark, f"{words} {lists.words}")


def _beside_noise(run: Run) -> str:
    """What scores promise beside what another seed alone does to losses: less than it does is not seen in one model."""
    noise = evidence.figures(run, "noise", SCRATCH).get("noise, seed")
    promised = evidence.promised(run)
    if noise is None or not noise.value > promised > 0:
        return ""
    return (
        f" Another seed alone changes a loss by {theme.number(noise.value)} nats, more than the scores that lead lists "
        f"promise ({theme.number(promised)}): from one training to another such amounts cannot be seen."
    )


def _overlaps(run: Run) -> dict[str, Figure]:
    return evidence.figures(run, "stability", what="overlap, other ")


def _kept(question: str, found: dict[str, Figure], none: str) -> Finding:
    known = {name: figure for name, figure in found.items() if math.isfinite(figure.value)}
    if not known:
        return Finding(question, UNKNOWN, none)
    told = ", ".join(f"{theme.percent(figure.value)} with another {name}" for name, figure in known.items())
    return Finding(
        question,
        graded(min(figure.value for figure in known.values()), STAYS),
        f"Of the strongest examples stay in a list: {told}.",
    )


def _with_interval(figure: Figure) -> str:
    value = theme.correlation(figure.value)
    if not math.isfinite(figure.low):
        return value
    return f"{value} (95 % interval {theme.correlation(figure.low)} to {theme.correlation(figure.high)})"


def _too_few(figure: Figure | None, what: str) -> str:
    count = 0 if figure is None else figure.count
    if not count:
        return f"No examples {what} were left out."
    few = "1 example" if count == 1 else f"{count} examples"
    return f"Only {few} {what} {'was' if count == 1 else 'were'} left out; at least {FEWEST_EXAMPLES} are needed."
