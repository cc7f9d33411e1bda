"""The lesson as data: its steps, the facts that it states, the model in the plane."""
