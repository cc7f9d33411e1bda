"""`attribute`: a study in, scores out."""
