"""What really training again measured of a run's scores."""
