from .checkpoint import Checkpoint as Checkpoint
from .checkpoint import read_checkpoint as read_checkpoint
from .images import CheckpointImages as CheckpointImages
from .images import ImageOptions as ImageOptions
from .images import image_study as image_study
