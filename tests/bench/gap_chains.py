"""The chains of stages whose hand-overs `slurm_gap.py` measures, and what their files tell of each."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from slurm.wrapped import asked_s
from support.project import CONFIG, make_project

SBATCH_ARGS = ("--gres=gpu:a40:8", "--mem=2000M", "--time=20")

STAGE = """\
import sys, time

def stamp(what):
    with open("stamps", "a") as file:
        file.write(f"{sys.argv[1]} {what} {time.time()}\\n")

stamp("begin")
time.sleep(float(sys.argv[3]))
stamp("end")
open(sys.argv[2], "w").close()
"""
SNAKEFILE = """\
import json, sys

lengths_s = json.load(open("lengths.json"))

rule all:
    input: f"{len(lengths_s)}.out"

for number, length_s in enumerate(lengths_s, 1):
    rule:
        name: f"stage{number}"
        input: f"{number - 1}.out"
        output: f"{number}.out"
        resources: gres="gpu:a40:8", mem_mb=2000, runtime=20
        params: number=number, length_s=length_s
        shell: "exec {sys.executable} stage.py {params.number} {output} {params.length_s}"
"""
# The demo's own training script, made longer by a pause. It begins before it imports torch, which its
# launcher has imported by then, and has ended when its process is gone, which a child of it sees.
TRAINER = """\
import json, os, pathlib, runpy, sys, time

stage = pathlib.Path(sys.argv[sys.argv.index("--work-dir") + 1]).parent.name.removeprefix("stage")
folder = pathlib.Path(__file__).parents[4]

def stamp(what):
    with (folder / "stamps").open("a") as file:
        file.write(f"{stage} {what} {time.time()}\\n")

stamp("begin")
reader, writer = os.pipe()
if os.fork() == 0:
    os.close(writer)
    os.read(reader, 1)
    stamp("end")
    os._exit(0)
time.sleep(json.loads((folder / "lengths.json").read_text())[int(stage) - 1])
runpy.run_path("tools/train.py", run_name="__main__")
"""
# What its imports, an epoch and a checkpoint take on two quiet cores; that much of a stage is no pause.
TRAINING_S = 5.0


def make_plain(folder: Path, lengths_s: Sequence[float]) -> None:
    """A Snakefile of stages that wait; one Slurm job each."""
    folder.mkdir()
    (folder / "stage.py").write_text(STAGE, encoding="utf-8")
    (folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    (folder / "lengths.json").write_text(json.dumps(list(lengths_s)), encoding="ascii")
    (folder / "0.out").touch()


def make_trainer(folder: Path, lengths_s: Sequence[float]) -> None:
    """A project in which each stage trains from the one before."""
    project = make_project(folder)
    (folder / "workflow/demo/driving/tools/timed.py").write_text(TRAINER, encoding="utf-8")
    pauses_s = [max(0.0, length_s - TRAINING_S) for length_s in lengths_s]
    (folder / "lengths.json").write_text(json.dumps(pauses_s), encoding="ascii")
    driving = CONFIG["runs"]["driving"]
    first = {key: value for key, value in driving["stages"]["stage1"].items() if key != "promotion"}
    stages = {}
    for number in range(1, len(lengths_s) + 1):
        resources = {"gpu": 8, "gpu_model": "a40", "runtime_min": 20}
        stages[f"stage{number}"] = {**first, "epochs": 1, "resources": resources}
        if number > 1:
            stages[f"stage{number}"]["init_from"] = f"stage{number - 1}"
    trainer = {**driving["trainer"], "entry": "./tools/timed.py", "nproc_per_node": 1}
    run = {"trainer": trainer, "stages": stages}
    project.configure(lambda data: data["runs"].update(driving=run))


def chain_of_sbatch(lengths_s: Sequence[float]) -> list[list[str]]:
    """One sbatch per stage of `make_plain`; each but the first lacks the job that it depends on."""
    argv = ["sbatch", "--parsable", *SBATCH_ARGS, "--output=/dev/null"]
    return [
        [*argv, f"--wrap=exec {sys.executable} stage.py {number} {number}.out {length_s}"]
        for number, length_s in enumerate(lengths_s, 1)
    ]


# ---------------------------------------------------------------------- what the files tell


def stamps_s(folder: Path) -> dict[tuple[int, str], float]:
    """When each stage's own work began and ended; Unix times."""
    lines = [line.split() for line in (folder / "stamps").read_text(encoding="ascii").splitlines()]
    return {(int(number), what): float(at) for number, what, at in lines}


def gaps_s(folder: Path, stages: int) -> list[float]:
    """From the end of each stage to the begin of the next."""
    at_s = stamps_s(folder)
    assert len(at_s) == 2 * stages, f"the stages stamped {sorted(at_s)}"
    return [
        at_s[following, "begin"] - at_s[number, "end"] for number, following in pairwise(range(1, stages + 1))
    ]


def pieces_s(folder: Path, stages: int, trainer: bool) -> list[dict[str, float]]:
    """What each gap of a chain of ours consists of, in the order of time."""
    at_s, asked = stamps_s(folder), asked_s(folder / "commands", "sbatch")
    return [
        _lengths(at_s[number, "end"], _moments(folder, number, asked, trainer), at_s[number + 1, "begin"])
        for number in range(1, stages)
    ]


def _moments(folder: Path, number: int, asked: list[float], trainer: bool) -> dict[str, float]:
    """The ends of the parts between the stamps of two stages."""
    stage = folder / f"runs/driving/stage{number}"
    output = f"runs/driving/stage{number}/train.json" if trainer else f"{number}.out"
    record = base64.urlsafe_b64encode(output.encode()).decode()
    moments = {}
    if trainer:
        moments["the trainer's exit, its checkpoint verified"] = _attempt(stage)["ended_s"]
    moments["the job's result"] = _logged_s(folder, number, "Job completed")
    moments["seen by the controller, recorded"] = _changed_s(folder / ".snakemake/metadata" / record)
    if trainer:
        moments["promoted"] = _changed_s(stage / "checkpoint.json")
    moments["Snakemake to sbatch"] = asked[number]
    moments["sbatch, Slurm, submitit's start"] = _logged_s(folder, number + 1, "Starting with")
    if trainer:
        moments["`trainrelay train` to the launcher"] = _attempt(stage.with_name(f"stage{number + 1}"))[
            "started_s"
        ]
    return moments


def _lengths(begin_s: float, moments: dict[str, float], end_s: float) -> dict[str, float]:
    names = [*moments, "to the stage's begin"]
    return {
        name: at_s - before_s
        for name, (before_s, at_s) in zip(names, pairwise([begin_s, *moments.values(), end_s]), strict=True)
    }


def _attempt(stage: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((stage / "attempts/001/attempt.json").read_text(encoding="utf-8"))
    return found


def _logged_s(folder: Path, number: int, text: str) -> float:
    """When submitit wrote this line into the log of a stage's job."""
    (log,) = (folder / ".snakemake/submitit").glob(f"*stage{number}*/*/*_0_log.out")
    found = re.search(rf"submitit INFO \((.*?)\) - {text}", log.read_text(encoding="utf-8"))
    assert found is not None, f"{log} has no {text!r}"
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()


def _changed_s(path: Path) -> float:
    return path.stat().st_mtime
