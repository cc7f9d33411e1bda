from .check import Check as Check
from .check import Finding as Finding
from .omission import leave_out as leave_out
from .suite import CHECKS as CHECKS
from .suite import told as told
from .suite import validate as validate
