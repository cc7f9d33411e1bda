from .cifar10 import Cifar10 as Cifar10
from .digits import Digits as Digits
from .fashion import Fashion as Fashion
from .study import ImageStudy as ImageStudy
from .study import Options as Options
from .study import from_folders as from_folders
