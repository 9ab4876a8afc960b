"""Made training logs with known faults, and how well the analysis finds these."""
