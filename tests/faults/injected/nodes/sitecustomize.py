"""Each node of the rig is a separate host to the Python that runs on it, as on a real cluster."""

import os
import socket
from pathlib import Path

if node := os.environ.get("SLURMD_NODENAME"):
    socket.gethostname = lambda: node
    read_text = Path.read_text

    def of_this_node(path, *arguments, **more):
        """Its kernel has its own boot id, too."""
        text = read_text(path, *arguments, **more)
        return f"boot-of-{node}" if str(path) == "/proc/sys/kernel/random/boot_id" else text

    Path.read_text = of_this_node
