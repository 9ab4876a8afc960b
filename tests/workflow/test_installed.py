"""Installed from its wheel, without a clone: `trainrelay init` in an empty folder, and two stages trained."""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from trainrelay import __version__

ROOT = Path(__file__).parents[2]
HERE = "{}.{}".format(*sys.version_info)
VERSIONS = sorted({HERE, "3.11", "3.12", "3.13"})
PAGE = (ROOT / "docs/my_own_script.md").read_text(encoding="utf-8")
TRAINER = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]

pytestmark = [pytest.mark.process, pytest.mark.slow]


def output_of(*command: str | Path, cwd: Path, path: str = "", code: int = 0) -> str:
    """Its stdout and stderr; nothing of the clone is on its paths."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TRAINRELAY"))}
    env["PATH"] = f"{path}{env['PATH']}"
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the unpacked source distribution, as pip does; or that of `make dist`."""
    if built := os.environ.get("TRAINRELAY_WHEEL"):
        return ROOT / built
    folder = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "hatchling", "build", "-d", folder, "-t")
    output_of(*build, "sdist", cwd=ROOT)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    source = next(path for path in folder.iterdir() if path.is_dir())
    output_of(*build, "wheel", cwd=source)
    return next(folder.glob("*.whl"))


def base_python(version: str) -> str | None:
    """One of this version, if this machine has it; a shim of pyenv may lead to none."""
    if version == HERE:
        return sys.executable
    found = shutil.which(f"python{version}")
    works = found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0
    return found if works else None


@pytest.fixture(
    scope="module",
    params=[
        "",
        *(pytest.param(one, marks=pytest.mark.long) for one in VERSIONS),
    ],
)
def python(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an empty environment with that wheel.

    What it depends on is read from where these tests have it; with a version named, pip installs all.
    """
    venv = tmp_path_factory.mktemp("installed") / "venv"
    python = venv / "bin/python"
    if request.param:
        if (base := base_python(request.param)) is None:
            pytest.skip(f"there is no python{request.param} here")
        output_of(base, "-m", "venv", venv, cwd=ROOT)
        output_of(python, "-m", "pip", "install", "-q", wheel, cwd=ROOT)
        return python
    output_of(sys.executable, "-m", "venv", "--without-pip", venv, cwd=ROOT)
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index")
    output_of(*pip, wheel, cwd=ROOT)
    packages = next(venv.glob("lib/python*/site-packages"))
    # A plain path adds no .pth file of that folder, so not the clone, which is installed there as editable.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return python


def test_it_trains_two_stages_in_an_empty_folder(python: Path, tmp_path: Path) -> None:
    """`init --from script`, its config for two CPU ranks as its first lines say, and the page's trainer."""
    trainrelay, path = python.with_name("trainrelay"), f"{python.parent}:"
    where = "import trainrelay; print(trainrelay.__file__)"
    assert output_of(python, "-c", where, cwd=tmp_path).startswith(str(python.parents[1]))
    assert output_of(trainrelay, "--version", cwd=tmp_path) == f"trainrelay {__version__}\n"

    output_of(trainrelay, "init", "--from", "script", cwd=tmp_path)
    config = (tmp_path / "config.yaml").read_text()
    config = config.replace(
        "kind: script\n", 'kind: script\n      device: cpu\n      env: {OMP_NUM_THREADS: "1"}\n'
    )
    # The Python with torch: that of a trainer may be another than that of trainrelay.
    config = re.sub(r"interpreter: python\b", f"interpreter: {sys.executable}", config)
    config = re.sub(r" +resources:.*\n( +gpu:.*\n)?", "        backends: [gloo]\n", config)
    (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "train.py").write_text(TRAINER)
    output_of(trainrelay, "plan", cwd=tmp_path, path=path)
    on_slurm = output_of(python, "-m", "snakemake", "--profile", "slurm", "-n", cwd=tmp_path, path=path)
    assert "mine/two: trains 2 epochs: nothing trained yet" in on_slurm
    said = output_of(python, "-m", "snakemake", "--profile", "local", cwd=tmp_path, path=path)
    assert (tmp_path / "runs/mine/two/checkpoint.json").is_file(), said

    second = json.loads((tmp_path / "runs/mine/two/checkpoint.json").read_text())
    assert second["source"]["epoch"] == 2
    assert (tmp_path / "runs/index.html").is_file()
    again = output_of(python, "-m", "snakemake", "--profile", "local", "-n", cwd=tmp_path, path=path)
    assert "Nothing to be done" in again


def test_what_an_index_shows_of_the_readme_has_no_link_into_the_clone(wheel: Path) -> None:
    """As long as the project has no address; then they lead there."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(name).decode().partition("\n\n")[2]
    assert "# trainrelay" in text
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert not [link for link in links if "://" not in link and not link.startswith("#")]


def test_a_folder_that_has_one_of_the_files_stays_as_it_is(python: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine\n")
    said = output_of(python.with_name("trainrelay"), "init", cwd=tmp_path, code=2)
    assert "config.yaml" in said
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == "mine\n"
