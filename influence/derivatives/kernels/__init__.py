"""Torch functions in steps that are faster, or that every derivative goes through."""
