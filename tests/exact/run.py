"""Ends trainings at random places and compares them: `make exact`, or python tests/exact/run.py [--number N].

--seed repeats the draws of a run. One end in 20 is that by a job's time limit, on a real Slurm, where this
machine can have one. With --write docs/EXACT.md is written. Ctrl-C ends all that was started; the page then
tells of those that were compared until then. Exits 1 if anything differs; such a training's folder is kept.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import random
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.section import machine
from exact.ended import CASES, DEMO, JOB, MINUTES, Comparison, Training, drawn, in_jobs
from slurm.rig import Rig, why_no_rig
from support.project import REPOSITORY
from support.signals import as_a_terminal_leaves_them

PAGE = REPOSITORY / "docs/EXACT.md"
HEAD = """# Exact

Trainings that were ended at random places, each continued to its end and then compared with one that was not.
Written by `make exact`; `make exact ARGS="--number 20"` ends fewer, `ARGS="--seed {seed}"` draws these again.

{summary}

Compared bit by bit: in trainings by ranks alone the weights, the buffers, the optimizer's state, the loss
scaler's, the best score, the next random numbers of each rank, and each row of the log to all digits; in
trainings by `trainrelay train` the final checkpoint's weights and optimizer and each line of the log but for
times, with a training that had the hook off.

- *By ranks alone*: a small mmcv training of 3 epochs of 13 iterations over gloo, with the hook, and a test in
  the supervisor's place. Unless its name says otherwise: two data workers per rank, each sample augmented by
  draws from Python, NumPy and torch (`exact: true`), a group sampler, dropout and BatchNorm, EMA, AdamW,
  accumulation over 2 iterations (so that gradients wait at an epoch's end), a loss scaler that overflows,
  schedules of learning rate and momentum, an evaluation and a checkpoint after each epoch. *mmengine*: the
  same by its Runner and EpochBasedTrainLoop, with its DefaultSampler, EMAHook and param schedulers.
- *By `trainrelay train`*: the driving demo, two ranks, 3 epochs of 6 iterations, an evaluation and a
  checkpoint after each. The supervisor restarts it after a SIGKILL; after SIGTERM or `trainrelay stop` the
  same command is run again. Those that were ended once in the same way share a row, by the step.
- *Saved*: how often a step checkpoint is due, beside each epoch's end. Steps count from 1 over all epochs.
  *Continued*: the step after which each further attempt continued; the beginning, where none was saved yet.

{limits}
{others}
| training | saved | ended by | continued | rows | compared |
| --- | --- | --- | --- | ---: | --- |
"""
WITH_LIMITS = f"""*In a job*: the same as a job of {MINUTES} minutes on a real Slurm. Its ranks are held
by SIGSTOP from the step on until the job is warned of its time limit; Slurm runs it again. Not among these:
GPUs."""
WITHOUT_LIMITS = (
    "Not among these: the end by a job's time limit, which reaches the supervisor as SIGTERM, and GPUs."
)

# A paragraph on trainers that are not ours, between empty lines: who ended them, how often, what was equal.
OTHERS = """
*Not ours*: mmdet 2.28.2 and mmcv-full 1.7.2, their sources unmodified, but nms in Python for mmcv's
operators and, imported by the config, what a CPU lacks: a small RetinaNet on made COCO images by `trainrelay
train` with `exact: true`. Two ranks over gloo, two data workers per rank, 3 epochs of 14 iterations, a group
sampler, random augmentation, warm-up, EMA, an evaluation and a checkpoint after each. With Python 3.11.7 and
torch 2.13.0 ended five times in two trainings: SIGKILL of rank 1 and, in the same epoch, of rank 0, then
`trainrelay stop`; SIGKILL of rank 0 in an evaluation, then SIGTERM of the supervisor. With Python 3.8.18 and
torch 1.12.1 twice in one: SIGKILL of rank 1, `trainrelay stop`. Equal to trainings that were not ended: each
loss, gradient norm and mAP in the log to all printed digits, the final weights, EMA's, and the optimizer bit
by bit.
"""


def main(argv: Sequence[str]) -> int:
    """Plays as many as asked for; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=100, help="of ends (100)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--write", action="store_true", help="write docs/EXACT.md")
    arguments = parser.parse_args(argv)
    as_a_terminal_leaves_them()
    say(f"seed {arguments.seed}")
    played: list[Training] = []
    folder = Path(tempfile.mkdtemp(prefix="exact-"))
    with ExitStack() as until_the_end:
        rig = _rig(until_the_end)
        comparison = Comparison(folder, rig)
        until_the_end.callback(comparison.close)
        jobs = in_jobs(random.Random(arguments.seed), arguments.number // 20 if rig else 0)
        trainings = itertools.chain(jobs, drawn(random.Random(arguments.seed)))
        with suppress(KeyboardInterrupt):
            _play(trainings, comparison, folder, arguments.number, played)
    different = [one for one in played if one.different]
    say(_summary(played))
    if different:
        say(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    if arguments.write and played:
        PAGE.write_text(_page(arguments.seed, played), encoding="utf-8")
    return 1 if different else 0


def _play(
    trainings: Iterable[Training], comparison: Comparison, folder: Path, most: int, played: list[Training]
) -> None:
    """Plays them until so many ends came; adds each to `played`."""
    for number, training in enumerate(trainings):
        comparison.play(training, folder / str(number))
        played.append(training)
        say(f"[{ended(played)}/{most}] {training.name}: {_ends(training)}")
        say(f"    continued after {', '.join(training.continued) or 'nothing'}; {_compared(training)}")
        if not training.different:
            shutil.rmtree(folder / str(number))
        if ended(played) >= most:
            break


def _rig(until_the_end: ExitStack) -> Rig | None:
    """One that is up until then; None, with a line, where there can be none."""
    if reason := why_no_rig():
        say(f"no end by a job's time limit: {reason}")
        return None
    rig = Rig()
    until_the_end.enter_context(rig.alone())
    return rig


def _page(seed: int, played: Sequence[Training]) -> str:
    limits = WITH_LIMITS if any(one.name == JOB for one in played) else WITHOUT_LIMITS
    head = HEAD.format(seed=seed, summary=_summary(played), limits=limits, others=OTHERS)
    return head + "".join(map(_row, _alike(played)))


def ended(played: Sequence[Training]) -> int:
    """How often one was ended and continued; one that is over before costs nothing."""
    return sum(len(one.continued) for one in played)


def _summary(played: Sequence[Training]) -> str:
    different = sum(bool(one.different) for one in played)
    demo = [one for one in played if one.name not in CASES]
    where = f"{machine()}, torch {version('torch')}, {platform.machine()}"
    return (
        f"**{ended(played)} ends in {len(played)} trainings ({ended(demo)} of them in {len(demo)} by"
        f" {DEMO}): {different or 'nothing'} different.** Measured on {where}."
    )


def _alike(played: Sequence[Training]) -> Iterator[list[Training]]:
    """Those of a row: of the demo's that are equal, all that were ended once in the same way."""
    rows: dict[object, list[Training]] = {}
    for one in played:
        alone = one.name not in CASES and len(one.continued) == 1 and not one.different
        rows.setdefault((one.name, one.ends[0].kind) if alone else id(one), []).append(one)
    return (sorted(ones, key=lambda one: one.ends[0].step) for ones in rows.values())


def _row(ones: Sequence[Training]) -> str:
    first, *more = ones
    saved = (f"every {one.every_s:g} s" if one.every_s else "at each step" for one in ones)
    name = f"{first.name}, {len(ones)} trainings" if more else first.name
    steps = "".join(f", {one.ends[0].step}" for one in more)
    how = f"{first.ends[0].kind} from step {first.ends[0].step}{steps} on" if more else _ends(first)
    continued = ", ".join(at for one in ones for at in one.continued)
    rows = ", ".join(dict.fromkeys(str(one.rows) for one in ones))
    return f"| {name} | {', '.join(saved)} | {how} | {continued} | {rows} | {_compared(first)} |\n"


def _ends(one: Training) -> str:
    return "; ".join(map(str, one.ends[: max(1, len(one.continued))]))


def _compared(one: Training) -> str:
    return f"**different: {', '.join(one.different)}**".replace("\n", " ") if one.different else "equal"


def say(line: str) -> None:
    """One line, at once."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
