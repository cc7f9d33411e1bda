from .needs import Need as Need
from .needs import check_solver as check_solver
from .runs import examine as examine
from .runs import precompute as precompute
