"""A trainer that trains nothing: mmcv's lines, mmcv's files, and bad habits on request.

Plain Python, so that it starts in a moment. A checkpoint of epoch N is a copy of TEMPLATES/epoch_N.pth.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SLEEPER = "import time; print('child up', flush=True); time.sleep(600)"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('deaf child up', flush=True); time.sleep(600)"
)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--templates", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--iters", type=int, default=3)
    parser.add_argument("--resume-from", type=Path)
    parser.add_argument("--habit", default="good")
    return parser.parse_args()


def say(text: str) -> None:
    print(f"2022-06-19 13:40:00,011 - mmdet - INFO - {text}", flush=True)


def child(code: str, session: bool = True) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=session)


def orphan(code: str) -> None:
    """A grandchild whose parent is gone and whose session is its own."""
    launch = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {code!r}], start_new_session=True)"
    )
    subprocess.run([sys.executable, "-c", launch], check=True)


def bare_orphan(code: str) -> None:
    """As `orphan`, its environment cleared: neither a parent nor a tag tells whose it is."""
    launch = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {code!r}], env={{}})"
    subprocess.run([sys.executable, "-c", launch], check=True)


def without_environment(code: str) -> None:
    subprocess.Popen([sys.executable, "-c", code], env={}, start_new_session=True)


def many_habits() -> None:
    child(SLEEPER)
    child(DEAF)
    orphan(SLEEPER)
    orphan(DEAF)
    without_environment(DEAF)
    os.kill(child(SLEEPER).pid, signal.SIGSTOP)


def before_training(habit: str) -> None:
    if habit == "many":
        many_habits()
    elif habit == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif habit == "notes-what-came":
        note = '{"format": 1, "share": 0.5, "modules": [["head", 0, 2]]}'
        (Path(os.environ["TRAINRELAY_HOOK"]).parent / "initial.json").write_text(note)
    elif habit == "usr2":
        os.kill(os.getpid(), signal.SIGUSR2)
    elif habit == "leaves-children":
        child(SLEEPER)
        orphan(DEAF)
    elif habit == "brisk-with-helpers":
        child(DEAF)
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
    elif habit == "leaves-bare-orphans":
        bare_orphan("pass")
        bare_orphan(DEAF)
    elif habit == "noisy":
        sys.stdout.buffer.write(b"\xff\xfe\x00\x1b[31m\x1b]0;title\x07" + b"x" * 3_000_000 + b"\n")
        sys.stdout.buffer.write(b"".join(b"\r%3d%%" % (i % 100) for i in range(200_000)))
        sys.stdout.buffer.write(bytes(range(256)) * 4000 + b"\n")
        sys.stdout.buffer.flush()


def once(work_dir: Path) -> bool:
    """True the first time, in whatever process."""
    try:
        (work_dir / "once").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def during(habit: str, epoch: int, work_dir: Path) -> None:
    """Bad habits after an epoch's first progress line."""
    if habit in ("slow", "brisk", "brisk-with-helpers"):
        time.sleep(1.0 if habit == "slow" else 0.3)
    if habit in ("waits", "many", "deaf") or (habit == "leaves-bare-orphans" and epoch == 2):
        time.sleep(600)
    elif habit == "empties-then-raises":
        raise KeyError("img_metas")
    elif epoch < 2:
        return
    elif habit in ("raises", "notes-what-came") or (habit == "raises-once" and once(work_dir)):
        raise KeyError("img_metas")
    elif habit == "tells-its-token":
        raise RuntimeError(f"401 for {os.environ['HF_TOKEN']}")
    elif habit == "port-taken-once" and once(work_dir):
        raise RuntimeError("The server socket has failed to listen on any local network address. EADDRINUSE")
    elif habit == "raises-beside-a-child" and once(work_dir):
        child(DEAF)
        while not (work_dir / "go").exists():
            time.sleep(0.05)
        raise KeyError("img_metas")
    elif habit == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif habit == "stops-early":
        sys.exit(0)
    elif habit == "waits-in-epoch-2":
        time.sleep(600)


def first_epoch(args: argparse.Namespace) -> int:
    if not args.resume_from or args.habit in ("from-zero", "from-zero-then-waits"):
        return 1
    found = re.search(r"epoch_(\d+)\.pth", args.resume_from.name)
    assert found
    done = 1 if args.habit == "other-epoch" else int(found[1])
    if args.habit != "silent-resume":
        say(f"resumed epoch {done}, iter {done * args.iters}")
    return done + 1


def save(args: argparse.Namespace, epoch: int) -> None:
    say(f"Saving checkpoint at {epoch} epochs")
    args.work_dir.mkdir(parents=True, exist_ok=True)
    aside = args.work_dir / "aside"
    shutil.copyfile(args.templates / f"epoch_{epoch}.pth", aside)
    aside.replace(args.work_dir / f"epoch_{epoch}.pth")


def after_training(habit: str) -> None:
    """Bad habits once the last checkpoint is there."""
    if habit == "killed-at-the-end":
        os.kill(os.getpid(), signal.SIGKILL)
    elif habit == "raises-at-the-end":
        raise KeyError("after the last checkpoint")
    elif habit == "waits-at-the-end":
        time.sleep(600)


def main() -> None:
    args = parsed()
    before_training(args.habit)
    if args.habit.startswith("empties"):
        shutil.rmtree(args.work_dir)
        args.work_dir.mkdir()
    if args.habit == "understood-nowhere":
        say("Loading annotations\ntrain 10 steps, loss 0.3\nsaved")
        args.work_dir.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(args.templates / "epoch_1.pth", args.work_dir / "weights.ckpt")
        return
    if args.habit == "goes-past":
        args.epochs += 1
    for epoch in range(first_epoch(args), args.epochs + 1):
        for iteration in range(1, args.iters + 1):
            loss = "nan" if args.habit == "nan" else f"{10 / epoch:.4f}"
            say(
                f"Epoch [{epoch}][{iteration}/{args.iters}]\tlr: 1.000e-04, eta: 0:00:09, time: 0.1,"
                f" loss: {loss}"
            )
            during(args.habit, epoch, args.work_dir)
            if args.habit == "from-zero-then-waits":
                time.sleep(600)
        save(args, epoch)
        if args.habit == "evaluates":
            say(f"Epoch(val) [{epoch}][10]\tmAP: {(0.1, 0.5, 0.2, 0.4, 0.3, 0.2)[epoch - 1]}")
        if args.habit == "evaluation-raises":
            raise KeyError(f"results of epoch {epoch}")
    after_training(args.habit)


if __name__ == "__main__":
    main()
