"""The checks of a run, one a file."""
