"""A command of trainrelay as another host would run it: HOST BEAT_S AHEAD_S ARGUMENT...

The host's name and its boot id tell two hosts of one folder apart; its clock is AHEAD_S seconds ahead.
BEAT_S is the beat of its lease, and an owner that stops beating is granted some of them.
"""

import socket
import sys
import time
from functools import partial

from trainrelay import cli
from trainrelay.operations import held_lease
from trainrelay.system import alive

host, beat_s, ahead_s, *argv = sys.argv[1:]
real = time.time
time.time = lambda: real() + float(ahead_s)
socket.gethostname = lambda: host
read = alive.text_of
alive.text_of = lambda path: f"boot-of-{host}" if path.endswith("/boot_id") else read(path)
held_lease.acquire = partial(held_lease.acquire, beat_s=float(beat_s))
sys.exit(cli.main(argv))
