"""What printed lines mean, for supervision and analysis alike: bars, skipped steps, how a trainer failed."""
