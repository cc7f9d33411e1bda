"""The pages: each only draws."""
