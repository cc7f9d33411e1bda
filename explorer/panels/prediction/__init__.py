"""The prediction that is looked at, and what of it is explained."""
