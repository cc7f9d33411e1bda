"""Files of texts: formats, columns, samples."""
