"""One module per trainer kind: argv, environment, what it prints, what it leaves (pure)."""
