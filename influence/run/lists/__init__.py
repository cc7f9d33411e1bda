"""What is listed of one query: the strongest examples, and tables of them as CSV."""
