"""Built-in studies with a cause that was planted."""
