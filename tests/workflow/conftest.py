"""Real Snakemake, real trainings: one project is trained once and brought back before each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.project import Project, make_project, restore, save


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    """A project with both stages trained, and the copy from which it is brought back."""
    base = tmp_path_factory.mktemp("workflow")
    project = make_project(base / "my müddle project")
    project.succeed()
    save(project, base / "saved")
    return project, base / "saved"


@pytest.fixture
def trained(trained_once: tuple[Project, Path]) -> Project:
    """Both stages trained, promoted, analysed and reported."""
    project, saved = trained_once
    restore(project, saved)
    return project


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """Nothing trained yet."""
    return make_project(tmp_path / "my müddle project")
