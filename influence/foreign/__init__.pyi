from .importing import Request as Request
from .importing import import_scores as import_scores
from .importing import name_of as name_of
from .matrix import Matrix as Matrix
from .scores import read_scores as read_scores
from .tables import read_table as read_table
