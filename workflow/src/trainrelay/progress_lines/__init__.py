"""What printed progress means, for supervision and analysis alike: bars, steps that a loss scaler skips."""
