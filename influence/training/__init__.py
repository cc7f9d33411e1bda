"""Trains stages: to a minimum, by mini-batches that can be repeated, and again without examples."""
