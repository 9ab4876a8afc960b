"""Trainings that are ended at random, continued, and compared with one that was not."""
