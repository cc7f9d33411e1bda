"""The named errors of the library: each message says what was given, what was expected and what to do."""


class UpstreamError(Exception):
    """Base of every error that the user can mend; the command line prints it and exits with code 2."""


class StudyError(UpstreamError):
    """A stage or study is described inconsistently: names, shapes, patterns, empty data."""


class LossError(UpstreamError):
    """A loss or measure does not return finite per-example values of shape (B,), or torch cannot differentiate it."""


class CurvatureError(UpstreamError):
    """A solve is not well defined: negative curvature, no convergence, too many parameters."""


class MethodError(UpstreamError):
    """An unknown method, or an option that the method does not have."""


class TrainingError(UpstreamError):
    """A stage could not be fitted."""


class RunError(UpstreamError):
    """A run on disk is missing, unfinished, damaged, of another format, or cannot be written."""
