from .needs import Need as Need
from .needs import check_solver as check_solver
from .steps import examine as examine
from .steps import precompute as precompute
