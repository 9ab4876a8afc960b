"""Preflight checks, each one function: on the login node before a submission, on the node at a start."""
