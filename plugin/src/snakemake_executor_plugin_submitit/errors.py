"""What can go wrong because of a user or a cluster, each with its sentence."""

from __future__ import annotations


class SubmititError(Exception):
    """The text is one sentence for the user."""


class RequestError(SubmititError):
    """The job or a setting asks for what means nothing, or what Slurm would misread: fix it."""


class RefusedError(SubmititError):
    """Slurm said no for good: fix it."""


class LimitError(SubmititError):
    """Slurm takes no more jobs for now: submit later."""


class UnreachableError(SubmititError):
    """Slurm did not answer, nothing is known: ask again later."""


class UnclearError(UnreachableError):
    """A command ended by itself with words that are not Slurm's: sbatch may have submitted."""
