"""A real Slurm for the tests: booted where it is installed or may be, else left out with one line.

On a CI machine (CI=true) what is missing is installed, and the tests fail where that is not possible.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.rig import Rig, why_no_rig
from slurm.toy_workflow import Toy
from support.project import Project, make_project

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests on the one rig run in one process; where there can be no rig they are marked as left out."""
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("slurm"))
    on_the_rig = [item for item in ours if "rig" in getattr(item, "fixturenames", ())]
    if on_the_rig and os.environ.get("CI") != "true" and (reason := why_no_rig()):
        for item in on_the_rig:  # by a mark, so that pytest sums them up in one line per file
            item.add_marker(pytest.mark.skip(reason=f"skipped, they need a real Slurm: {reason}"))


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """A rig that is up, for this test run alone; one that it had to boot is taken down at its end."""
    if reason := why_no_rig():
        pytest.fail(f"no rig, which these tests need: {reason}", pytrace=False)
    rig = Rig()
    with rig.alone():
        yield rig


@pytest.fixture
def clean_rig(rig: Rig) -> Rig:
    """The rig with every daemon up, both nodes idle and no job of another test."""
    rig.heal()
    return rig


@pytest.fixture
def toy(clean_rig: Rig, tmp_path: Path) -> Iterator[Toy]:
    """A workflow that is still to be written."""
    toy = Toy(clean_rig, tmp_path)
    yield toy
    toy.end()
    clean_rig.heal()


@pytest.fixture
def project(clean_rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A fresh demo of a user of the rig."""
    for name, value in clean_rig.environment().items():
        monkeypatch.setenv(name, value)
    yield make_project(tmp_path / "my project")
    clean_rig.heal()
