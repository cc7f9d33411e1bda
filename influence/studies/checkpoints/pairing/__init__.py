"""What a correspondence is made of: how like values are, and its table."""
