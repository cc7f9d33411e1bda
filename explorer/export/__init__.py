"""Reports, tables and notes: files that a visitor keeps."""
