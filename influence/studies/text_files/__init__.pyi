from .columns import Columns as Columns
from .columns import corpora as corpora
from .columns import corpus_of as corpus_of
