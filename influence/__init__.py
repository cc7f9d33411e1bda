"""Which pretraining examples made a finetuned model right or wrong? Multi-stage influence functions for PyTorch."""

from influence.attribution import Scores, attribute
from influence.run import Run
from influence.studies.exhibit import Exhibit
from influence.study import Stage, Study
from influence.version import VERSION

__version__ = VERSION
__all__ = ["Exhibit", "Run", "Scores", "Stage", "Study", "attribute"]
