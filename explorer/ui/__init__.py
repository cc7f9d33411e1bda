"""The base of every page: session and URL keys, widgets, colours and words, escaping, pictures."""
