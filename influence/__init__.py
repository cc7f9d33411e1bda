"""Which pretraining examples made a finetuned model right or wrong? Multi-stage influence functions for PyTorch."""

from influence.attribution.groups import group_effect, totals
from influence.attribution.index.index import Index
from influence.attribution.scores import Scores, attribute
from influence.attribution.tokens import token_influence
from influence.run.reading import Run
from influence.studies.exhibit import Exhibit
from influence.study.stage import Stage
from influence.study.study import Study
from influence.training.recipe import Recipe
from influence.training.recording import Recording, record, retrain
from influence.version import VERSION

__version__ = VERSION
__all__ = [
    "Exhibit",
    "Index",
    "Recipe",
    "Recording",
    "Run",
    "Scores",
    "Stage",
    "Study",
    "attribute",
    "group_effect",
    "record",
    "retrain",
    "token_influence",
    "totals",
]
