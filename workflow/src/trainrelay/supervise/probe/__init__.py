"""The probe of a ladder: whether the ranks can talk, rung by rung, before a training stakes hours on it."""

from trainrelay.supervise.probe.results import result_text
from trainrelay.supervise.probe.runner import probe_ladder, probe_rung
