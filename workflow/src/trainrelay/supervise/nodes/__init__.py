"""A training over several nodes of one Slurm job: whether there are so many, whether they answer, its end."""

from trainrelay.supervise.nodes.allocation import nodes_missing, steps_of
from trainrelay.supervise.nodes.answering import wait_for_nodes
from trainrelay.supervise.nodes.ending import end_everywhere

__all__ = ["end_everywhere", "nodes_missing", "steps_of", "wait_for_nodes"]
