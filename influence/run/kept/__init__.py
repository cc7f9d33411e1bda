"""What a run keeps of its scores where it does not keep all of them."""
