"""The manual's tables are what the code does."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_plugin_submitit import status
from snakemake_executor_plugin_submitit.extra import ELSEWHERE, NO_JOB, OURS
from snakemake_executor_plugin_submitit.resources import request_of, sbatch_flags
from snakemake_executor_plugin_submitit.settings import ExecutorSettings

MANUAL = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def rows(header: str) -> list[list[str]]:
    """The cells of the table that begins with this header line."""
    lines = MANUAL.split(f"| {header} |\n", 1)[1].splitlines()[1:]
    table = lines[: lines.index("")] if "" in lines else lines
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table]
    return [[cell.strip().replace("\\|", "|") for cell in row] for row in cells]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def flags(resources: dict[str, Any]) -> set[str]:
    return set(sbatch_flags(request_of(resources, threads=1), "gres"))


RESOURCES = rows("resource | option of sbatch")


@pytest.mark.parametrize(("resource", "option"), RESOURCES, ids=[row[0] for row in RESOURCES])
def test_a_resource_becomes_the_option_that_the_table_shows(resource: str, option: str) -> None:
    call = ast.parse(f"dict({code(resource)[0]})", mode="eval").body
    assert isinstance(call, ast.Call)
    given = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    assert flags(given) - flags({}) == set(shlex.split(" ".join(code(option)))) - flags({})


def test_the_table_shows_every_resource_that_is_read() -> None:
    """Read means: request_of looks for it. The names that it refuses are no resources."""
    asked: list[str] = []

    class Noting(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.append(key)
            return super().get(key, default)

    request_of(Noting(), threads=1)
    refused = {"mpi", *(name for name in asked if re.search(r"tasks$|^tasks_|gpus|nvidia_gpu", name))}
    shown = {name for row in RESOURCES for name in re.findall(r"(\w+)=", code(row[0])[0])}
    assert set(asked) - refused == shown & set(asked)


def test_what_slurm_extra_refuses_is_listed_with_what_to_use() -> None:
    listed = {
        name.removeprefix("--"): instead
        for names, instead in rows("not in `slurm_extra` | but")
        for name in code(names)
    }
    ours = dict.fromkeys(OURS, "nothing: this executor sets them")
    assert listed == {**ELSEWHERE, **ours, **dict.fromkeys(NO_JOB, "nothing: they submit no job")}


def test_every_setting_is_listed_with_its_default() -> None:
    listed = {code(name)[0]: default for name, default, _ in rows("setting | default |")}
    fields = {
        f"--submitit-{field.name.replace('_', '-')}": str(field.default).lower()
        for field in dataclasses.fields(ExecutorSettings)
    }
    assert listed == fields


def test_every_ended_state_is_listed_with_what_follows() -> None:
    listed = {state: what for states, what in rows("state | what follows") for state in states.split(", ")}
    assert listed.keys() == status.ENDED
    for state, what in listed.items():
        memory = status.Memory(state, since_s=-status.SETTLE_S, answers=1)
        _, verdict = status.judge(memory, status.Sighting(0.0, queue=state))
        assert verdict.kind == ("interrupted" if "again" in what else "failed"), state
    assert f"{status.SETTLE_S:g} s" in MANUAL
