"""Dot products of all examples' gradients with the queries' vectors, in one pass over the data."""
