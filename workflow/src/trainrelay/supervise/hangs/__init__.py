"""Hangs: when a trainer counts as hung, and where each of its processes was."""

from trainrelay.supervise.hangs.detector import HangDetector
from trainrelay.supervise.hangs.dumps import with_stack_dumps
from trainrelay.supervise.hangs.stacks import StackFile, describe_stacks, save_stacks
