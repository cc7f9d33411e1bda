from .columns import Columns as Columns
from .columns import corpora as corpora
