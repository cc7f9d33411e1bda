from .checkpoint import Checkpoint as Checkpoint
from .checkpoint import read_checkpoint as read_checkpoint
from .images import CheckpointImages as CheckpointImages
from .options import CheckpointOptions as CheckpointOptions
