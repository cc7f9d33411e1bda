"""The verdict on a run, and what it follows from."""
