"""One training of a stage: its identity, its files, its state, what would be done."""
