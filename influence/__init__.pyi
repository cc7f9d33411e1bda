from .attribution.edits.after import scores_after as scores_after
from .attribution.edits.effect import edit_effect as edit_effect
from .attribution.edits.effect import group_effect as group_effect
from .attribution.edits.own_relabel import own_relabel_scores as own_relabel_scores
from .attribution.edits.relabel import relabel_scores as relabel_scores
from .attribution.edits.scores import edit_scores as edit_scores
from .attribution.edits.together import best_together as best_together
from .attribution.edits.vote_scores import vote_scores as vote_scores
from .attribution.edits.votes import Votes as Votes
from .attribution.index.index import Index as Index
from .attribution.label_totals import totals as totals
from .attribution.scores import Scores as Scores
from .attribution.scores import attribute as attribute
from .attribution.tokens import token_influence as token_influence
from .run.reading import Run as Run
from .studies.exhibit import Exhibit as Exhibit
from .study import edits as edits
from .study import targets as targets
from .study.stage import Stage as Stage
from .study.study import Study as Study
from .training.recipe import Recipe as Recipe
from .training.recording import Recording as Recording
from .training.recording import record as record
from .training.recording import retrain as retrain

__version__: str
