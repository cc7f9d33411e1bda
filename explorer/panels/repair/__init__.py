"""Repair of the training data: what it is judged by, lists of what to remove, relabel and add, and a review."""
