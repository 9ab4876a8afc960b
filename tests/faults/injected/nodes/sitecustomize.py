"""Each node of the rig is a host of its own to the Python that runs on it, as on a real cluster."""

import os
import socket

if node := os.environ.get("SLURMD_NODENAME"):
    socket.gethostname = lambda: node
