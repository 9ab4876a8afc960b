"""What each training waits for before it starts is small."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


@pytest.mark.process
def test_train_and_promote_import_neither_analysis_nor_report() -> None:
    code = (
        "import sys, trainrelay.cli.stage;"
        " print([n for n in ('analysis', 'report') if f'trainrelay.{n}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SIGNALS_ITSELF = """\
import os, signal, sys

class AtTheImport:
    def find_spec(self, name, *_):
        if name == os.environ["INTERRUPTED_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, AtTheImport())
"""


def installed_script() -> list[str]:
    """What pip writes into the script `trainrelay`."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["trainrelay"].split(":")
    return ["-c", f"import sys; from {module} import {function}; sys.exit({function}())"]


@pytest.mark.process
@pytest.mark.parametrize("called", [["-m", "trainrelay"], installed_script()], ids=["module", "script"])
@pytest.mark.parametrize("module", ["trainrelay.cli.arguments", "trainrelay.system.say", "pydantic"])
def test_a_ctrl_c_while_it_is_being_loaded_is_one_sentence(
    tmp_path: Path, called: list[str], module: str
) -> None:
    """Which takes seconds where a machine has too much to do."""
    (tmp_path / "sitecustomize.py").write_text(SIGNALS_ITSELF)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *called, "train", "r/s"],
        env={**os.environ, "PYTHONPATH": path, "INTERRUPTED_AT": module},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (75, "", "trainrelay: Stopped.\n")


@pytest.mark.process
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_the_caller_closed_is_no_failure(tmp_path: Path, closed: str) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"Epoch {epoch} loss: 0.5\n" for epoch in (1, 2, 3)))
    command = f"'{sys.executable}' -m trainrelay analyze '{log}' {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.process
def test_what_is_started_then_has_these_streams_too(tmp_path: Path) -> None:
    """Else a file that Snakemake opens gets the number, and what its jobs print is written into that."""
    told, ask = tmp_path / "told", "import os; open({!r}, 'w').write(str([*map(os.path.exists, {})]))"
    child = ask.format(str(told), [f"/proc/self/fd/{number}" for number in range(3)])
    code = (
        "import subprocess, sys; from trainrelay.__main__ import _open_streams; _open_streams();"
        " subprocess.run([sys.executable, '-c', sys.argv[1]])"
    )
    command = '"$0" -c "$1" "$2" <&- >&- 2>&-'
    subprocess.run(["sh", "-c", command, sys.executable, code, child], check=True)
    assert told.read_text() == "[True, True, True]"
