from .additions import add_tables as add_tables
from .draft import Draft as Draft
from .ranking import top as top
from .reading import Run as Run
from .reading import runs_in as runs_in
