"""State of a page without drawing: a view of one query, or two answers side by side, and their numbers."""
