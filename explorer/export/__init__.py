"""What is taken along: reports, tables, notes."""
