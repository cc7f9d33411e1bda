"""What was trained on what: stages, studies, and which parameters each stage inherits, freezes and trains."""
