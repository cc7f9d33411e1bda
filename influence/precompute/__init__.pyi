from .forecast import Forecast as Forecast
from .needs import Need as Need
from .needs import check_solver as check_solver
from .rehearsal import rehearse as rehearse
from .runs import examine as examine
from .runs import precompute as precompute
