from .attribution.groups import group_effect as group_effect
from .attribution.groups import totals as totals
from .attribution.index.index import Index as Index
from .attribution.scores import Scores as Scores
from .attribution.scores import attribute as attribute
from .attribution.tokens import token_influence as token_influence
from .run.reading import Run as Run
from .studies.exhibit import Exhibit as Exhibit
from .study.stage import Stage as Stage
from .study.study import Study as Study
from .training.recipe import Recipe as Recipe
from .training.recording import Recording as Recording
from .training.recording import record as record
from .training.recording import retrain as retrain

__version__: str
