"""Above every page: which run, what it is."""
