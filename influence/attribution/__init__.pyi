from .groups import GroupEffect as GroupEffect
from .groups import group_effect as group_effect
from .groups import totals as totals
from .guards import usable as usable
from .index.index import Index as Index
from .scores import Scores as Scores
from .scores import attribute as attribute
from .tokens import token_influence as token_influence
