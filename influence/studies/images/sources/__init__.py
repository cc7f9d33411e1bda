"""Where pictures lie: files in class folders, members of tar files."""
