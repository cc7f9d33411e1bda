"""Several trainings of one study: that they are of one, and the mean of their scores."""
