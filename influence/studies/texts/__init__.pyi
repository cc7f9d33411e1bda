from .corpus import Corpus as Corpus
from .definitions import Definitions as Definitions
from .options import TextOptions as TextOptions
from .study import TextStudy as TextStudy
