"""Runs as the app sees them: opened once, shared by all visitors, read-only."""
