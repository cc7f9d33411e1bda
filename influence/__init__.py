"""Which pretraining examples made a finetuned model right or wrong? Multi-stage influence functions for PyTorch."""

from influence.attribution import Scores, attribute
from influence.run import Run
from influence.study import Stage, Study

__version__ = "0.1.0"
__all__ = ["Run", "Scores", "Stage", "Study", "attribute"]
