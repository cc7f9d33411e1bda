"""Per-example training gradients on disk, so that new queries are scored without the training data."""
