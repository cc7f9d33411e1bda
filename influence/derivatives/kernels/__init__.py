"""Own versions of torch functions: faster ones, and those whose gradients can be used as they are."""
