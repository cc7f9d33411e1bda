from . import edits as edits
from . import targets as targets
from .stage import Loss as Loss
from .stage import Stage as Stage
from .stage import TokenLosses as TokenLosses
from .study import Study as Study
