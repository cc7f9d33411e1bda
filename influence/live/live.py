"""`Live`: scores for new queries, other classes and spans of texts, from a finished run's study and models.

A query is pulled back through the stages, solved, and multiplied with the gradients of all training examples
(`way_back.py`).
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from influence.attribution.tokens import query_token_losses, token_shares
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.modes import callers_modes_off
from influence.derivatives.objective import objectives_of
from influence.errors import StudyError
from influence.live.judgement import span_loss
from influence.live.question import Reading, Span, Target, TokenReading
from influence.live.way_back import WayBack
from influence.live.what_if import WhatIf
from influence.precompute.embedding import embed
from influence.run.reading import Run
from influence.studies.from_run import exhibit_of
from influence.studies.question import Input
from influence.study.stage import Loss

CACHED_ANSWERS = 128
"""Size of the cache of answers; the oldest are dropped."""


@dataclass(frozen=True)
class Answer:
    """Scores, float32 (m,), of a stage's examples for one query and target, and the solved query (T,) behind them."""

    scores: np.ndarray
    solved: Tensor


class Live:
    """One run's study, made ready by `warm_up` or by the first question.

    Safe to be asked by several threads, one of which is followed back at a time; what the model says to an item waits
    for none.

    Args:
        run: a finished run.
        function: FILE.py:FUNCTION of a run that was computed from one.

    Attributes:
        way_back: the run's, fitted.
        what_if: the same, asked about edits of the training data.
        form: of new questions: "drawing", "picture", "text", "completion", or "" where the study takes none.
        classes: that the finetuned model tells apart; () where it is no classifier: what is explained are then a
            query's measure and, where the study gives the last stage's token losses, spans of a text.

    Raises:
        RunError, StudyError: as `influence.studies.from_run.exhibit_of`.
    """

    def __init__(self, run: Run, function: str | None = None):
        self.run, exhibit = run, exhibit_of(run, function)
        self.exhibit = exhibit
        self.classes = tuple(str(name) for name in exhibit.classes[exhibit.study.stages[-1].name])
        self.objectives = objectives_of(exhibit.study)
        self.form = exhibit.form
        self.way_back, self._reading = WayBack(run, exhibit), threading.Lock()
        self.what_if = WhatIf(self.way_back)
        self._answers: OrderedDict[tuple[str, str | Span], dict[str, Answer]] = OrderedDict()

    @callers_modes_off()
    def error(self, stage: str) -> float:
        """Relative error that packing makes in the scores of a stage's examples, measured on the run's first query."""
        with self.way_back.lock:
            return self.way_back.errors.get(stage, 0.0)

    @property
    def warnings(self) -> list[str]:
        """What makes the scores of answers something else than they claim, a sentence each, as far as it is known."""
        return self.way_back.remarks[0]

    @property
    def order_only(self) -> list[str]:
        """Those of the warnings that take the unit."""
        return self.way_back.remarks[1]

    @property
    def ready(self) -> bool:
        """Whether an answer waits for nothing but itself."""
        return self.way_back.ready

    def warm_up(self) -> None:
        """Do now what the first answer needs."""
        self.way_back.warm_up()

    def read(self, given: Image.Image | str | tuple[str, str]) -> Input:
        """What the model makes of a picture, a text, or a prompt and its completion.

        Raises:
            StudyError: the study takes no new questions, or it cannot read this one.
        """
        if self.exhibit.encode is None:
            raise StudyError("This run's study does not say how its model reads something new (`Exhibit.encode`).")
        return self.exhibit.encode(given)

    def stored(self, position: int) -> Any:
        """The item of the run's query at `position`."""
        return self.exhibit.study.queries[position]

    @callers_modes_off()
    def predict(self, item: Any) -> Reading:
        """What the model says to an item of the queries' form.

        Raises:
            StudyError: the model is no classifier.
        """
        self._refuse_no_classes()
        last = self.objectives[-1]
        with self._reading, torch.no_grad():  # models of their own, which no pass over the data touches
            (batch,) = (batch for _, batch in last.batches([item]))
            probabilities = last.outputs(batch).double().softmax(1)[0].cpu().numpy()
            place = self._place(item)
        return Reading(self.classes[int(probabilities.argmax())], probabilities, place)

    @callers_modes_off()
    def losses(self, item: Any) -> TokenReading:
        """What a model without classes makes of an item of the queries' form: its loss, and that of each token.

        Raises:
            LossError: the last stage's token losses are not the parts of the measure.
        """
        last, measure = self.objectives[-1], self.exhibit.study.measure
        assert measure is not None
        tokens = self.exhibit.token_losses.get(last.stage.name)
        with self._reading, torch.no_grad():
            (batch,) = (batch for _, batch in last.batches([item]))
            loss = float(last.losses(batch, 1, loss=measure))
            found = None if tokens is None else next(query_token_losses(last, tokens, [item], measure))
            place = self._place(item)
        return TokenReading(loss, None if found is None else found.float().cpu().numpy(), place)

    def _place(self, item: Any) -> np.ndarray:
        """Of an item in the run's embedding, (d,); (0,) where that is another model's."""
        if self.exhibit.vectors is not None:
            return np.empty(0, dtype=np.float32)
        assert self.exhibit.embedding is not None
        return embed(self.objectives[0], [item], self.exhibit.embedding, self.objectives[-1])[0]

    @callers_modes_off()
    def scores(self, item: Any, target: Target) -> dict[str, np.ndarray]:
        """Stage -> scores of its training examples, float32 (m,), nats, positive = helpful.

        Raises:
            StudyError: the target names no class of the model, or tokens that the text does not have.
            LossError: the last stage's token losses, of which a span is a part, are not those of the measure.
        """
        of, against = self._explained(item, target)
        if against is None:
            return {stage: answer.scores for stage, answer in of.items()}
        return {stage: answer.scores - against[stage].scores for stage, answer in of.items()}

    @property
    def spans(self) -> bool:
        """Whether a span of a query's text can be explained."""
        return not self.classes and self.exhibit.study.stages[-1].name in self.exhibit.token_losses

    def splits(self, stage: str) -> bool:
        """Whether scores of a stage's examples can be split over the tokens of their texts."""
        return stage in self.exhibit.token_losses and stage in self.exhibit.tokens

    @callers_modes_off()
    def shares(self, item: Any, target: Target, stage: str, examples: Sequence[int]) -> dict[int, np.ndarray]:
        """Example -> its score split over its tokens, float32 (L,), nats; they add up to the score.

        Args:
            item: of the queries' form.
            target: what is explained of it.
            stage: one that `splits`.
            examples: rows of its examples.

        Raises:
            StudyError: the stage has no tokens; else as `scores`.
        """
        if not self.splits(stage):
            raise StudyError(f"Scores of stage {stage!r} are not split over tokens; it has no token losses.")
        of, against = self._explained(item, target)
        vector = of[stage].solved if against is None else of[stage].solved - against[stage].solved
        objective = next(each for each in self.way_back.chain.objectives if each.stage.name == stage)
        with self.way_back.lock:
            found = dict(token_shares(objective, self.exhibit.token_losses[stage], vector, examples))
        starts = self.exhibit.tokens[stage]["starts"]  # one a token; the rest of a row is padding
        return {example: each[: len(starts.iloc[example])] for example, each in found.items()}

    def _refuse_no_classes(self) -> None:
        if not self.classes:
            raise StudyError(f"Run {self.run.name} has no classes to explain: its last model is no classifier.")

    def _explained(self, item: Any, target: Target) -> tuple[dict[str, Answer], dict[str, Answer] | None]:
        """The answers whose difference is the target's; None where there is but one."""
        if isinstance(target, Span):
            return self._answer(item, target), None
        self._refuse_no_classes()
        for name in filter(None, (target.of, target.against)):
            if name not in self.classes:
                raise StudyError(
                    f"There is no class {name!r} to explain; the model has {', '.join(self.classes[:20])}."
                )
        against = None if target.against is None else self._answer(item, target.against)
        return self._answer(item, target.of), against

    def _answer(self, item: Any, part: str | Span) -> dict[str, Answer]:
        """Stage -> answer for the loss of a class, or of a span."""
        key = (_digest(item), part)
        with self.way_back.lock:
            if key not in self._answers:
                self._answers[key] = self._computed(item, part)
                while len(self._answers) > CACHED_ANSWERS:
                    self._answers.popitem(last=False)
            self._answers.move_to_end(key)
            return self._answers[key]

    def _computed(self, item: Any, part: str | Span) -> dict[str, Answer]:
        last = self.way_back.chain.last
        loss = (
            span_loss(self.exhibit, last, item, part) if isinstance(part, Span) else _loss_of(self.classes.index(part))
        )
        gradients = torch.cat([g for _, g in example_gradients(last, [item], last.all, loss)])
        _ = self.way_back.gradients  # worth their time: who asks once asks again
        found = {}
        for objective, solved in self.way_back.chain.pull_back(gradients):
            values = self.way_back.products(objective, solved).float().cpu().numpy()
            values.flags.writeable = False  # shared by all who ask
            found[objective.stage.name] = Answer(values, solved[0])
        return found


def _loss_of(number: int) -> Loss:
    """The loss of a class."""
    return lambda outputs, batch: -outputs.log_softmax(1)[:, number]


def _digest(item: Any) -> str:
    """Of an item's tensors and numbers."""
    parts = item.values() if isinstance(item, Mapping) else item
    tensors = {str(i): torch.as_tensor(part).contiguous() for i, part in enumerate(parts)}
    return hashlib.sha256(safetensors.torch.save(tensors)).hexdigest()
