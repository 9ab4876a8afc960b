"""What the tests of supervision share: a toy trainer kind, jobs, and a supervisor in a process of its own.

Run as a script it is that supervisor: one attempt of the job described by its argument, the record on stdout.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from trainrelay.errors import TrainrelayError
from trainrelay.records import AttemptRecord, EpochBases
from trainrelay.supervise import Lease, StageJob, StepSaving, acquire, process, process_list, recover, train
from trainrelay.supervise.attempt import Surroundings, attempt
from trainrelay.supervise.display import Display
from trainrelay.supervise.stop import stop_requests
from trainrelay.system import alive
from trainrelay.system.alive import TAG_VARIABLE
from trainrelay.trainers import RUNGS, Launch, LaunchRequest
from trainrelay.trainers.metriclogger import MetricLogger
from trainrelay.trainers.mmcv import Mmcv
from trainrelay.training.work_dirs import WorkDirs

TOY = Path(__file__).with_name("toy_trainer.py")
DEADLINE_S = 60.0


class Toy(Mmcv):
    """Prints and leaves what mmcv does; `entry` is the script, `config` the folder of its templates."""

    kind = "toy"

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        argv = [request.interpreter, "-u", request.entry, "--work-dir", request.work_dir]
        argv += ["--templates", request.config, "--port", str(request.master_port), *_words(request)]
        argv += ["--resume-from", request.resume_from] if request.resume_from else []
        return Launch(tuple(argv), {**request.env, "TOY": "ü"}, request.root)


def _words(request: LaunchRequest) -> list[str]:
    words = request.options["words"]
    assert isinstance(words, list)
    return [str(word) for word in words]


class Ranks(Toy):
    """Real ranks: torch.distributed.run starts toy_ranks.py."""

    kind, script = "ranks", "toy_ranks.py"

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        toy = super().launch(request, inherited)
        python, _, _, *arguments = toy.argv
        launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={request.nproc_per_node}"]
        launcher += [f"--master_port={request.master_port}", str(TOY.with_name(self.script))]
        return Launch((python, "-u", *launcher, *arguments), {"OMP_NUM_THREADS": "1"}, toy.cwd)


class Counted(Ranks):
    """The same, with an optimizer and a data loader: toy_counted.py."""

    kind, script = "counted", "toy_counted.py"


class Steps(Toy):
    """Step checkpoints as trainrelay_hook saves them, played by toy_steps.py."""

    kind = "steps"

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        return super().launch(replace(request, entry=str(TOY.with_name("toy_steps.py"))), inherited)


class InPlace(MetricLogger):
    """Prints and leaves what DETR does, as toy_in_place.py plays it."""

    kind = "in-place"

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        entry = str(TOY.with_name("toy_in_place.py"))
        return Toy().launch(replace(request, entry=entry), inherited)


KINDS = {kind.kind: kind for kind in (Toy, Ranks, Steps, InPlace)}


def toy_job(folder: Path, templates: Path, habit: str = "good", epochs: int = 3, **changes: Any) -> StageJob:
    """A job for the toy trainer in `folder`."""
    work_dir = folder / "work dir ü"
    request = LaunchRequest(
        root=str(folder),
        interpreter=sys.executable,
        launch_module="",
        entry=str(TOY),
        config=str(templates),
        work_dir=str(work_dir),
        nproc_per_node=2,
        nodes=1,
        rung=RUNGS["gloo"],
        master_port=None,
        epochs=epochs,
        options={"words": ["--habit", habit, "--epochs", str(epochs)]},
    )
    job = StageJob(
        run="toy",
        stage="stage1",
        stage_dir=folder / "runs" / "toy" / "stage1",
        work_dirs=WorkDirs(work_dir, kept=folder / "runs" / "toy" / "stage1" / "kept"),
        supervision=folder / "runs" / "toy" / ".stage1",
        asked=epochs,
        world_size=2,
        ladder=(RUNGS["gloo"],),
        trainer=Toy(),
        request=request,
        port=None,
        stop_grace_s=1.0,
        warn_s=120,
    )
    job = replace(job, **changes)
    # DETR's way to count is taken as told, unless a test wants it learned.
    bases = job.trainer.epoch_bases or EpochBases(printed=0, saved=1)
    return job if job.learns_base else job.with_bases(bases)


def cleared(job: StageJob) -> StageJob:
    """The job under a wrapper that clears the environment, as `apptainer --cleanenv` or sudo do."""
    wrapper = Path(job.request.root) / "cleared"
    if not wrapper.exists():
        wrapper.write_text(f'#!/bin/sh\nexec env -i "{sys.executable}" "$@"\n')
        wrapper.chmod(0o755)
    return replace(job, request=replace(job.request, interpreter=str(wrapper)))


def behind(job: StageJob, prefix: Sequence[str]) -> StageJob:
    """The job with words before its interpreter."""
    return replace(job, request=replace(job.request, prefix=tuple(prefix)))


def trainers(folder: Path) -> list[int]:
    """Every living toy trainer below a folder, by its arguments."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = one.cmdline()
            ours = str(TOY) in words and any(word.startswith(str(folder)) for word in words)
            if ours and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one.pid)
    return found


class Alone(Lease):
    """The lease of a supervisor that nobody competes with."""

    def __init__(self) -> None:
        self.owner, self.lost, self.token, self.folder = "0" * 32, None, 1, Path()

    def guard(self) -> None:
        """Nobody took it over."""


def once(job: StageJob, console: Console) -> AttemptRecord:
    """One attempt, on the ladder's first rung."""
    shown = Display(console, job.name, job.asked, time.monotonic)
    with stop_requests() as stop, contextlib.closing(shown):
        return attempt(job, job.ladder[0], Surroundings(shown, stop, Alone()))


def carrying(value: str, variable: str = TAG_VARIABLE) -> list[int]:
    """Other living processes that have a variable of this value in their environment."""
    found = []
    for one in psutil.process_iter():
        try:
            same = one.environ().get(variable) == value and one.pid != os.getpid()
            if same and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one.pid)
        except (psutil.Error, OSError):
            continue
    return found


def eventually(condition: Callable[[], Any]) -> Any:
    """The condition's first true value; AssertionError after 60 s."""
    until = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < until, "waited 60 s for a condition in vain"
        time.sleep(0.05)
    return value


def supervisor(
    folder: Path, templates: Path, habit: str, before: Sequence[str] = (), **changes: Any
) -> subprocess.Popen[str]:
    """A supervisor in a process of its own, as a job of Snakemake would be, with words `before` it."""
    spec = json.dumps({"folder": str(folder), "templates": str(templates), "habit": habit, **changes})
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [*before, sys.executable, __file__, spec],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def killed_supervisor(
    folder: Path, templates: Path, habit: str, until: str = "Epoch [1]", **changes: Any
) -> None:
    """One that is killed once its trainer has printed this, which then continues alone."""
    boss = supervisor(folder, templates, habit, **changes)
    eventually(lambda: until in log_text(folder))
    boss.kill()
    boss.communicate()


def log_text(folder: Path) -> str:
    """All consoles of all attempts below a folder."""
    found = (Path(here, "trainer.log") for here, _, names in os.walk(folder) if "trainer.log" in names)
    return "".join(path.read_text(errors="replace") for path in sorted(found))


def _held(job: StageJob, beat_s: float) -> Lease:
    job.supervision.mkdir(parents=True, exist_ok=True)
    return acquire(
        job.supervision,
        job.name,
        lambda sentence: print(sentence, file=sys.stderr),
        lambda: False,
        beat_s=beat_s,
    )


def _main() -> None:
    # A shell's background job ignores SIGINT; a supervisor would respect that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    spec = json.loads(sys.argv[1])
    spec_launch, leased = spec.pop("launch", False), spec.pop("leased", False)
    prefix = spec.pop("prefix", ())
    wrapped, beat_s = spec.pop("cleared", False), spec.pop("beat_s", 10.0)
    process_list._LOOK_S = spec.pop("look_s", process_list._LOOK_S)
    recover._LOOK_S = 0.1
    if spec.pop("kills_nothing", False):  # in place of a frozen cgroup
        process._send = lambda *_: None
    if namespace := spec.pop("pid_namespace", None):  # in place of a real one
        alive._link = lambda _: namespace
    recover._PATIENCE_S = spec.pop("patience_s", recover._PATIENCE_S)
    process._UNKILLABLE_S = spec.pop("unkillable_s", process._UNKILLABLE_S)
    if steps := spec.pop("steps", None):
        spec["steps"] = StepSaving(**steps)
    kind = KINDS[spec.pop("kind", "toy")]()
    where = Path(spec.pop("folder")), Path(spec.pop("templates")), spec.pop("habit")
    job = behind(toy_job(*where, trainer=kind, **spec), prefix)
    job = cleared(job) if wrapped else job
    try:
        with _held(job, beat_s) if leased else contextlib.nullcontext(Alone()) as lease:
            console = Console(stderr=True)
            record = train(job, console, lease) if spec_launch else once(job, console)
    except TrainrelayError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
        sys.exit(error.exit_code)
    print(json.dumps({**record.model_dump(mode="json"), "handlers": _handlers()}))


def _handlers() -> list[str]:
    return [str(signal.getsignal(signum)) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)]


if __name__ == "__main__":
    _main()
