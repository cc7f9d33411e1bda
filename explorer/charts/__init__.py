"""The charts that people look at, as plotly figures: a plain function each, one look for all (`template`)."""
