"""What a run's scores are computed in: pieces that any process can compute, in any order, with the same result."""
