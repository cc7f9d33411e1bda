from .checkpoint import Checkpoint as Checkpoint
from .checkpoint import read_checkpoint as read_checkpoint
from .correspondence import Correspondence as Correspondence
from .correspondence import correspondence as correspondence
from .statement import Statement as Statement
from .statement import statement as statement
