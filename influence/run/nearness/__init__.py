"""Simpler scores of a run's examples, which its own must beat."""
