"""The training examples, as cards."""
