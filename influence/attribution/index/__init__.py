"""Training examples' gradients kept on disk, for new queries."""
