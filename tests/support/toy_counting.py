"""A trainer that trains nothing: MetricLogger's lines, checkpoints of any name and count, a death on request.

Plain Python, so that it starts in a moment. The checkpoint that says N is a copy of TEMPLATES/N.pth.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import time
from pathlib import Path


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--templates", type=Path, required=True)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--printed", type=int, default=0)
    parser.add_argument("--saved", type=int, default=1)
    parser.add_argument("--name", default="checkpoint.pth")
    parser.add_argument("--die", default="", help="PHASE:EPOCH, the first time that it comes there")
    parser.add_argument("--record", type=Path, help="the attempt's, waited for in the first epoch")
    return parser.parse_args()


def finished(args: argparse.Namespace) -> int:
    """What its own checkpoint says, found by content."""
    if not args.resume:
        return 0
    held = args.resume.read_bytes()
    number = next(int(one.stem) for one in args.templates.iterdir() if one.read_bytes() == held)
    return number + int(args.saved)


def wait_until_known(args: argparse.Namespace, what: str) -> None:
    """Until the supervisor has written that down, in the first epoch; a minute at most."""
    until_s = time.monotonic() + 60
    while args.record and json.loads(args.record.read_text())["epoch_bases"][what] is None:
        assert time.monotonic() < until_s, f"{what} was not learned"
        time.sleep(0.02)


def main() -> None:
    args = parsed()
    args.output_dir.mkdir(parents=True, exist_ok=True)

    def phase(name: str, epoch: int) -> None:
        if args.die == f"{name}:{epoch}" and not (args.output_dir / "died").exists():
            (args.output_dir / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    for epoch in range(finished(args) + 1, args.epochs + 1):
        with (args.output_dir / "trained").open("a") as file:
            file.write(f"{epoch}\n")
        for iteration in range(2):
            line = f"Epoch: [{epoch - 1 + args.printed}]  [{iteration}/2]  eta: 0:00:01  loss: 1.0 (1.0)"
            print(line, flush=True)
        phase("before-save", epoch)
        wait_until_known(args, "printed")
        aside = args.output_dir / "aside"
        shutil.copyfile(args.templates / f"{epoch - args.saved}.pth", aside)
        aside.replace(args.output_dir / args.name.format(epoch))
        wait_until_known(args, "saved")
        phase("after-save", epoch)
    phase("at-the-end", args.epochs)


if __name__ == "__main__":
    main()
