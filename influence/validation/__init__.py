"""Does the score predict what really happens? Checks of a finished run, one a file, by `validate`."""

from influence.validation.check import Check, Finding
from influence.validation.omission import leave_out
from influence.validation.suite import CHECKS, told, validate

__all__ = ["CHECKS", "Check", "Finding", "leave_out", "told", "validate"]
