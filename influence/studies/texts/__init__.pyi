from .corpus import Corpus as Corpus
from .definitions import Definitions as Definitions
from .study import TextOptions as TextOptions
from .study import TextStudy as TextStudy
