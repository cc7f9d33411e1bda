"""An exhibit becomes a run, step by step, resumable."""
