"""The probe of a ladder: whether the ranks can talk, rung by rung, before a training stakes hours on it."""

from trainrelay.supervise.probe.climb import climb, text_of
from trainrelay.supervise.probe.runner import probe_rung

__all__ = ["climb", "probe_rung", "text_of"]
