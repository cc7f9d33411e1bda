"""Tables of a run: their forms, what their pages hold, and reading them."""
