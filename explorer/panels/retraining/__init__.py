"""Really training again, from a page."""
