"""Further trainings of a run's study, from other seeds."""
