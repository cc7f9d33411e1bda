from .method import Method as Method
from .methods import METHODS as METHODS
from .methods import method_named as method_named
