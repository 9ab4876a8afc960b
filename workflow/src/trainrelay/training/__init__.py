"""One training of a stage: what it is, where it lies, how it stands, what would be done."""
