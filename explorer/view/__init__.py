"""One view, or two beside each other: a run, a query, what is asked about it, and what follows from that."""
