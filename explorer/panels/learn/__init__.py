"""The lesson beside the pages, and the model in the plane."""
