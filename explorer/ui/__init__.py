"""What every page stands on: session and URL keys, colours and words, escaping, pictures."""
