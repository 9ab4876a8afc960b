"""What can go wrong because of a user or a cluster, each with its sentence.

SubmititError
├── RequestError      the job or a setting asks for something that means nothing: fix it
├── RefusedError      Slurm refuses the job for good: fix it
├── LimitError        Slurm takes no more jobs for now: submit later
└── UnreachableError  Slurm does not answer: ask again later
    └── UnclearError  sbatch ended without a word of Slurm's: it may have submitted
"""

from __future__ import annotations


class SubmititError(Exception):
    """The text is one sentence for the user."""


class RequestError(SubmititError):
    """Asked for in a way that is wrong, or that Slurm would misread."""


class RefusedError(SubmititError):
    """Slurm said no."""


class LimitError(SubmititError):
    """Slurm takes no more jobs for now."""


class UnreachableError(SubmititError):
    """Slurm did not answer; nothing is known."""


class UnclearError(UnreachableError):
    """A command ended by itself, and what it said is none of Slurm's answers."""
