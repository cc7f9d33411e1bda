"""What the study of two image classifiers is made of: its data, and the classes of its heads."""
