"""The run on disk: a folder of open formats, read and written."""
