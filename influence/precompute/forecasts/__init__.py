"""What runs will take of time, memory and disk, from a rehearsal on samples of the data."""
