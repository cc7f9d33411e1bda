from .forecasts.forecast import Forecast as Forecast
from .forecasts.rehearsal import rehearse as rehearse
from .needs import Need as Need
from .needs import check_solver as check_solver
from .runs import examine as examine
from .runs import precompute as precompute
