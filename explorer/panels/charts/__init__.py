"""All scores at once: histogram, totals, map."""
