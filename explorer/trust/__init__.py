"""May the lists be believed? What was checked, and what that means."""
