"""`python -m slurm.rig up|status|down`; up with --install and --link."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from slurm.rig import packages
from slurm.rig.errors import RigError
from slurm.rig.rig import FOLDER_VARIABLE, Rig, default_folder


def main(argv: Sequence[str]) -> int:
    """Runs one command; 0, 1 where the rig is not up (status), 2 where it cannot be."""
    arguments = _arguments(argv)
    try:
        return int({"up": _up, "status": _status, "down": _down}[arguments.command](arguments))
    except RigError as error:
        print(f"slurm rig: {error}", file=sys.stderr)
        return 2


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m slurm.rig", description=__doc__)
    parser.add_argument("--folder", type=Path, help=f"where it lies (${FOLDER_VARIABLE}, {default_folder()})")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="boot it; one that is up is left alone")
    up.add_argument("--install", action="store_true", help="install the Debian packages that are missing")
    up.add_argument(
        "--link", action="store_true", help="link /etc/slurm/slurm.conf to it, if nothing is there"
    )
    commands.add_parser("status", help="which of its daemons live")
    commands.add_parser("down", help="end its daemons and jobs")
    return parser.parse_args(argv)


def _up(arguments: argparse.Namespace) -> int:
    rig = Rig(arguments.folder)
    rig.check_machine()
    packages.require(install_missing=arguments.install or packages.may_install())
    began_s = time.monotonic()
    if rig.boot(say=lambda line: print(f"slurm rig: {line}", flush=True)):
        print(f"slurm rig: up after {time.monotonic() - began_s:.1f} s in {rig.folder}")
    else:
        print(f"slurm rig: up already in {rig.folder}, left as it is")
    rig.keep()
    if arguments.link:
        rig.link()
    if rig.loses_processes():
        print("slurm rig: no cgroup can be made here; reparented processes of a job outlive it")
    print(f"export SLURM_CONF={rig.conf}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    rig = Rig(arguments.folder)
    for name, pid in rig.states().items():
        print(f"{name:16} {f'pid {pid}' if pid else 'not running'}")
    up = rig.is_up()
    print(f"slurm rig: {'up' if up else 'not up'} in {rig.folder}")
    if up:
        print(f"export SLURM_CONF={rig.conf}")
    return 0 if up else 1


def _down(arguments: argparse.Namespace) -> int:
    rig = Rig(arguments.folder)
    ended = rig.down()
    print(f"slurm rig: {ended} processes ended in {rig.folder}" if ended else "slurm rig: nothing was up")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
