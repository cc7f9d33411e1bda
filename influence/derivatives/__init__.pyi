from .objective import Objective as Objective
from .objective import objectives_of as objectives_of
from .objective import plain_kernels as plain_kernels
