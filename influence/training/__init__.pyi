from .minimum import fit_stage as fit_stage
from .recipe import Recipe as Recipe
from .recording import Recording as Recording
from .recording import record as record
from .recording import retrain as retrain
from .retraining import Retrainer as Retrainer
