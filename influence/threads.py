"""Threads that wait for one another sleep and do not spin: beside another program that computes, that costs tenfold.

Said to OpenMP, which reads it once, when torch is loaded; so this module is imported before torch. Whoever has set the
variable keeps it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
