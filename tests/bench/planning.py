"""What `snakemake -n` costs with many stages: CPU seconds of its process, ours and those of a bare Snakefile.

`make bench-plan` plans a sweep of runs of two stages, nothing trained yet, in turns by our Snakefile and by
one with the same rule files that looks every answer up in a table: the same rules, wildcards, inputs,
outputs, params, resources and messages, and no config to read, to check and to plan. `--write` puts the
figures into docs/BENCHMARKS.md. Exits 1 where ours costs more than it may, or more than in proportion to the
stages.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.section import machine, write_section
from support.project import CONFIG, Project, make_project
from trainrelay import dag
from trainrelay.config import Config, load_config
from trainrelay.training.context import StageContext
from trainrelay.training.request import cores

SECTION = "What a plan of many stages costs"
FEW, MANY = 100, 1000  # stages
MOST_OF_BARE = 1.5

# What the rule files ask, answered from the table.
COMMON = """\
import json
import re
from types import SimpleNamespace

with open("table.json") as file:
    TABLE = json.load(file)

CONFIG = SimpleNamespace(
    runs={run: SimpleNamespace(stages=stages) for run, stages in TABLE["runs"].items()},
    stage_names=TABLE["params"],
    runs_with=lambda stage: [run for run, stages in TABLE["runs"].items() if stage in stages],
)
COMMAND, OUT = TABLE["command"], TABLE["out"]


def StageContext(_, run, stage):
    return f"{run}/{stage}"


def cores(at):
    return TABLE["stages"][at]["cores"]


class dag:
    one_of = staticmethod(lambda names: "|".join(map(re.escape, names)))
    train_input = staticmethod(lambda _, run, stage: TABLE["stages"][f"{run}/{stage}"]["earlier"])
    promotion_param = staticmethod(lambda _, run, stage: TABLE["stages"][f"{run}/{stage}"]["promoted_to"])
    report_input = staticmethod(lambda _, run: TABLE["reported"][run])


class PLANS:
    @staticmethod
    def signature_params(stage):
        params = range(TABLE["params"][stage])
        return [lambda w, n=n: TABLE["stages"][f"{w.run}/{stage}"]["params"][n] for n in params]

    @staticmethod
    def resources(stage):
        keys = TABLE["resources"][stage]
        return {key: lambda w, key=key: TABLE["stages"][f"{w.run}/{stage}"]["resources"][key] for key in keys}

    @staticmethod
    def message(run, stage, _):
        return TABLE["stages"][f"{run}/{stage}"]["message"]

    @staticmethod
    def config_file():
        return TABLE["config_file"]


wildcard_constraints:
    run=dag.one_of(CONFIG.runs),
    stage=dag.one_of(CONFIG.stage_names),


localrules:
    all,
"""


def sweep(stages: int) -> dict[str, Any]:
    """A config of so many stages, two a run; each run has a learning rate and places of its own."""
    runs = {f"run{number:04d}": deepcopy(CONFIG["runs"]["driving"]) for number in range(stages // 2)}
    for number, (name, run) in enumerate(runs.items(), start=1):
        run["stages"]["stage1"]["options"]["optimizer.lr"] = number / 10_000
        run["stages"]["stage1"]["promotion"]["target"] = f"ckpts/{name}.pth"
        run["stages"]["stage2"]["work_dir"] = f"work_dirs/{name}"
    return {"runs": runs}


def ours(folder: Path, stages: int) -> Project:
    """A project with a config of so many stages, written out as a person or a script would."""
    project = make_project(folder, {})
    dumper = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})
    (folder / "config.yaml").write_text(yaml.dump(sweep(stages), Dumper=dumper, sort_keys=False))
    return project


def bare(project: Project, folder: Path) -> Project:
    """The same rules with all that is asked in a table."""
    before = Path.cwd()
    os.chdir(project.folder)  # relative paths of a config are relative to where Snakemake is started
    try:
        answers = json.dumps(table(load_config(Path("config.yaml"))))
    finally:
        os.chdir(before)
    shutil.copytree(project.folder, folder)
    (folder / "config.yaml").unlink()
    (folder / "table.json").write_text(answers)
    (folder / "workflow/rules/common.smk").write_text(COMMON)
    snakefile = (folder / "workflow/Snakefile").read_text()
    (folder / "workflow/Snakefile").write_text(snakefile.replace("PLANS.hook_into(workflow)", ""))
    return Project(folder)


def table(config: Config) -> dict[str, Any]:
    """All that the rules ask of a config, for each of its stages."""
    plans = dag.Plans(config, ["config.yaml"])
    params = {stage: plans.signature_params(stage) for stage in config.stage_names}
    resources = {stage: plans.resources(stage) for stage in config.stage_names}

    def answers(run: str, stage: str) -> dict[str, Any]:
        wildcards = SimpleNamespace(run=run)
        asked = {key: ask(wildcards) for key, ask in resources[stage].items()}
        return {
            "cores": cores(StageContext(config, run, stage)),
            "earlier": dag.train_input(config, run, stage),
            "promoted_to": dag.promotion_param(config, run, stage),
            "params": [param(wildcards) for param in params[stage]],
            "resources": asked,
            "message": plans.message(run, stage, asked),
        }

    return {
        "runs": {name: list(run.stages) for name, run in config.runs.items()},
        "params": {stage: len(asked) for stage, asked in params.items()},
        "resources": {stage: list(asked) for stage, asked in resources.items()},
        "reported": {run: dag.report_input(config, run) for run in config.runs},
        "stages": {
            f"{name}/{stage}": answers(name, stage)
            for name, run in config.runs.items()
            for stage in run.stages
        },
        "config_file": "config.json",
        "command": dag.command(),
        "out": dag.out(config),
    }


@dataclass(frozen=True)
class Measured:
    """CPU seconds of `snakemake -n`, a pair for each turn: ours, and the bare one."""

    stages: int
    pairs: Sequence[tuple[float, float]]

    @property
    def ours_s(self) -> float:
        return statistics.median(pair[0] for pair in self.pairs)

    @property
    def bare_s(self) -> float:
        return statistics.median(pair[1] for pair in self.pairs)


def measure(base: Path, stages: int, turns: int) -> Measured:
    """In turns, each time the other one first; both must plan the same jobs."""
    projects = [ours(base / f"ours-{stages}", stages)]
    projects.append(bare(projects[0], base / f"bare-{stages}"))
    # Which also warms the caches.
    jobs = [
        sorted(re.findall(r"^Job \d+: (.*)$", project.succeed("-n"), re.MULTILINE)) for project in projects
    ]
    assert jobs[0] == jobs[1], "the two Snakefiles do not plan the same jobs"
    assert sum(": trains " in job for job in jobs[0]) == stages
    measured = []
    for turn in range(turns):
        order = (0, 1) if turn % 2 else (1, 0)
        spent = {which: cpu_s(projects[which]) for which in order}
        measured.append((spent[0], spent[1]))
        print(f"{stages} stages: {spent[0]:.2f} s of CPU time, {spent[1]:.2f} s bare", flush=True)
    return Measured(stages, measured)


def cpu_s(project: Project) -> float:
    """CPU seconds of one dry run: its process and those that it starts."""
    argv = [sys.executable, "-m", "snakemake", "-n", "--cores", "2"]
    running = subprocess.Popen(
        argv,
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    assert running.returncode == 0, f"snakemake -n ended with exit status {running.returncode}"
    return used.ru_utime + used.ru_stime


def holds(measured: Mapping[int, Measured]) -> bool:
    """At most so much more than bare, and a stage of many costs no more than one of few."""
    few, many = measured[FEW], measured[MANY]
    return many.ours_s <= MOST_OF_BARE * many.bare_s and many.ours_s / MANY <= few.ours_s / FEW


def section(measured: Mapping[int, Measured]) -> str:
    """Ours of docs/BENCHMARKS.md."""
    rows = [
        f"| {stages:,} | {one.ours_s:.2f} | {one.bare_s:.2f} | {one.ours_s / one.bare_s:.2f} |"
        for stages, one in measured.items()
    ]
    turns = len(measured[MANY].pairs)
    return "\n".join(
        [
            f"## {SECTION}",
            "",
            "Written by `make bench-plan`: CPU seconds of `snakemake -n` for a sweep of runs of two stages,"
            " nothing trained yet, and of a bare Snakefile with the same rules, wildcards, inputs, outputs,"
            " params, resources and messages, which it looks up in a table. Medians of"
            f" {turns}, in turns, on {machine()}:",
            "",
            "| stages | trainrelay (s) | bare (s) | ratio |",
            "|---:|---:|---:|---:|",
            *rows,
            "",
            f"The benchmark fails at {MANY:,} stages above {MOST_OF_BARE:g} times the bare one. What is added"
            " is reading config.yaml (by Snakemake and by trainrelay), checking it, and a look at each"
            " stage's folder.",
            "",
        ]
    )


def main() -> int:
    """Measure, print, and write where asked to; 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write docs/BENCHMARKS.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trainrelay-bench-") as name:
        measured = {stages: measure(Path(name), stages, arguments.turns) for stages in (FEW, MANY)}
    text = section(measured)
    print(text)
    if arguments.write:
        write_section(SECTION, text)
    print("holds" if holds(measured) else "does NOT hold")
    return 0 if holds(measured) else 1


if __name__ == "__main__":
    sys.exit(main())
