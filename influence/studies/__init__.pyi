from .built_in import STUDIES as STUDIES
from .built_in import study_named as study_named
from .exhibit import Exhibit as Exhibit
from .from_run import exhibit_of as exhibit_of
from .request import exhibits_for as exhibits_for
