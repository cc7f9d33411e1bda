"""The journal of a draft, and the files that it names."""
