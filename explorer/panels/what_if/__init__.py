"""What if one training example were otherwise: what each edit of it would do, predicted at once and really trained."""
