"""Faults injected into real demo trainings, and what becomes of them."""
