"""What `paper.py` and `accuracy.py` share: the studies, training them again, and the methods of others."""
