"""Read checkpoints: a kind a file, what is wrong with them is said by name."""
