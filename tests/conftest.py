"""What every test starts from."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from support.signals import as_a_terminal_leaves_them

STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}  # Python's audit events
WITH_PROCESSES = {"faults", "slurm", "workflow"}  # folders whose tests all start some

_running: list[str] = []  # the test that may start no process; none: any may


def pytest_configure(config: pytest.Config) -> None:
    as_a_terminal_leaves_them()
    # The ranks of a test share two cores with the other worker's.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of thousands of processes would compile the source
    hypothesis.settings.register_profile("every", deadline=None)  # no machine is quiet
    hypothesis.settings.load_profile("every")
    hypothesis.settings.register_profile("quick", max_examples=20)
    if "not process" in config.option.markexpr:
        hypothesis.settings.load_profile("quick")
        sys.addaudithook(_refuse_processes)


def _refuse_processes(event: str, _: object) -> None:
    if event in STARTS and _running:
        raise AssertionError(f"{_running[0]} starts a process: mark it with pytest.mark.process")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folders = [Path(__file__).parent / name for name in WITH_PROCESSES]
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in folders):
            item.add_marker("process")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _running[:] = [item.nodeid]
    try:
        return (yield)
    finally:
        _running.clear()
