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
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--mid", default="", help="the name of a file saved in the midst of each epoch")
    parser.add_argument("--inside", type=int, default=0, help="1: such a file is continued in its epoch")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds after each line")
    parser.add_argument("--status", type=int, default=0, help="at the end")
    parser.add_argument("--record", type=Path, help="the attempt's, waited for in the first epoch")
    return parser.parse_args()


def finished(args: argparse.Namespace) -> int:
    """What its own checkpoint says, found by content."""
    if not args.resume:
        return 0
    held = args.resume.read_bytes()
    number = next(int(one.stem) for one in args.templates.iterdir() if one.read_bytes() == held)
    return number + int(args.saved) - bool(args.inside and "mid" in args.resume.name)


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

    def save(name: str, epoch: int) -> None:
        aside = args.output_dir / "aside"
        shutil.copyfile(args.templates / f"{epoch - args.saved}.pth", aside)
        aside.replace(args.output_dir / name.format(epoch))

    for epoch in range(finished(args) + 1, args.epochs + 1):
        with (args.output_dir / "trained").open("a") as file:
            file.write(f"{epoch}\n")
        for iteration in range(args.iterations):
            where = f"Epoch: [{epoch - 1 + args.printed}]  [{iteration}/{args.iterations}]"
            print(f"{where}  eta: 0:00:01  loss: 1.0 (1.0)", flush=True)
            time.sleep(args.pause)
            if args.mid and iteration == 1:
                save(args.mid, epoch)
            if args.mid and iteration == args.iterations - 3:
                phase("within", epoch)
        phase("before-save", epoch)
        wait_until_known(args, "printed")
        save(args.name, epoch)
        wait_until_known(args, "saved")
        phase("after-save", epoch)
    phase("at-the-end", args.epochs)
    raise SystemExit(args.status)


if __name__ == "__main__":
    main()
