"""Hangs: when a trainer counts as hung, and where each of its processes was."""

from trainrelay.supervise.watchdog.dumps import with_stack_dumps
from trainrelay.supervise.watchdog.policy import Hang, Watchdog
from trainrelay.supervise.watchdog.stacks import StackFile, collect, described

__all__ = ["Hang", "StackFile", "Watchdog", "collect", "described", "with_stack_dumps"]
