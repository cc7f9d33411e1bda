"""Linear algebra that methods stand on: Lanczos iteration, EK-FAC's blocks, the preconditioner of `cg`."""
