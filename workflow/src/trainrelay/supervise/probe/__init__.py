"""The probe of a ladder: whether the ranks can talk, rung by rung, before a training stakes hours on it."""

from trainrelay.supervise.probe.ladder import probe_ladder, result_text
from trainrelay.supervise.probe.runner import probe_rung

__all__ = ["probe_ladder", "probe_rung", "result_text"]
