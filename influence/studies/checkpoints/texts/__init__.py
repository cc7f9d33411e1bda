"""Texts of two checkpoints: objectives, labels, what a tokenizer makes of files, and the study of it."""
