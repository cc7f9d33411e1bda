"""The panels: one a file, each draws one part of a page."""
