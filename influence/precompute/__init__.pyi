from .needs import Need as Need
from .steps import examine as examine
from .steps import precompute as precompute
