"""Files that clients upload: their storage, the rules for them, and their content in requests."""
