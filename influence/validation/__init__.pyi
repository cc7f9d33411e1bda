from . import omission as omission
from .check import Check as Check
from .check import Finding as Finding
from .omission import leave_out as leave_out
from .suite import CHECKS as CHECKS
from .suite import findings_table as findings_table
from .suite import validate as validate
