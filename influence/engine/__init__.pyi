from .choice import engine_of as engine_of
from .on_ray import OnRay as OnRay
from .pieces import Done as Done
from .pieces import Engine as Engine
from .pieces import Fingerprint as Fingerprint
from .pieces import Job as Job
from .pieces import Piece as Piece
from .pieces import Worker as Worker
