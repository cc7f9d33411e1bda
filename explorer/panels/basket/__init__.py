"""The basket of edits: what they are predicted to do, what they really do, and the corrected data."""
