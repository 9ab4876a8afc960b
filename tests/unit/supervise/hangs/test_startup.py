"""What runs inside the trainer at its start: noticed by nobody but the supervisor."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainrelay.supervise.hangs import dumps, with_stack_dumps
from trainrelay.system.alive import TAG_VARIABLE
from trainrelay.trainers.torchrun import ONE_RANK

pytestmark = pytest.mark.process

STARTUP = Path(dumps.__file__).with_name("startup") / "sitecustomize.py"
HAS_MEMORY = """import os
numbers = [n for n in map('/proc/self/fd/{}'.format, os.listdir('/proc/self/fd')) if os.path.islink(n)]
print(any('trainrelay' in os.readlink(n) for n in numbers))
"""


def python(
    code: str, path: str = "", *, able: bool = True, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs code as a rank would, its own folders on PYTHONPATH."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    own = {"RANK": "0", TAG_VARIABLE: "tag", **({"PYTHONPATH": path} if path else {})}
    whole = {**inherited, **(own if env is None else env)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=with_stack_dumps(whole) if able else whole,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A trainer's folder with a sitecustomize of its own, which has a SIGUSR1 handler."""
    (tmp_path / "sitecustomize.py").write_text(
        "import signal\nheard = []\nsignal.signal(signal.SIGUSR1, lambda *_: heard.append('usr1'))\n"
    )
    return tmp_path


def test_trainer_keeps_its_own_sitecustomize_and_signal_handler(own: Path) -> None:
    """Both work as without us, while the stacks can be asked for."""
    code = (
        "import os, signal, sitecustomize\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        f"os.kill(os.getpid(), {dumps.STACK_SIGNAL})\n"
        "print(sitecustomize.heard, sitecustomize.__file__)\n"
    )
    done = python(code + HAS_MEMORY, str(own))
    assert done.stdout.splitlines() == [f"['usr1'] {own / 'sitecustomize.py'}", "True"], done.stderr


def test_broken_sitecustomize_of_the_trainer_is_reported_as_ever(tmp_path: Path) -> None:
    """Python prints the same with and without us, and goes on."""
    (tmp_path / "sitecustomize.py").write_text("raise ValueError('mine')")
    with_us, without = (python("print(1)", str(tmp_path), able=able) for able in (True, False))
    assert "mine" in without.stderr
    assert (with_us.stdout, with_us.stderr) == (without.stdout, without.stderr) == ("1\n", without.stderr)


@pytest.mark.parametrize("path", ["", "/no/such/folder"])
def test_trainer_sees_the_modules_and_paths_that_it_would_see_without_us(path: str) -> None:
    """sys.path, the handlers, and every loaded module but faulthandler are the same."""
    code = (
        "import sys; loaded = sorted(set(sys.modules) - {'faulthandler'}); import signal\n"
        "handlers = [str(signal.getsignal(s)) for s in signal.valid_signals()]\n"
        "print(sys.path, loaded, handlers)"
    )
    with_us, without = (python(code, path, able=able) for able in (True, False))
    assert (with_us.stdout, with_us.stderr) == (without.stdout, "")


def test_sigusr1_keeps_its_meaning() -> None:
    """Without a handler of its own, a trainer ends by it as ever: nothing is hidden from it."""
    done = python("import os, signal; os.kill(os.getpid(), signal.SIGUSR1)")
    assert done.returncode == -signal.SIGUSR1


@pytest.mark.parametrize("env", [{"RANK": "0"}, {TAG_VARIABLE: "tag"}, {}])
def test_only_ranks_of_an_attempt_take_part(env: dict[str, str]) -> None:
    """A launcher, and whatever inherits PYTHONPATH elsewhere, is left as it is."""
    assert python(HAS_MEMORY).stdout == "True\n"
    assert python(HAS_MEMORY, env=env).stdout == "False\n"


def test_the_one_process_of_a_training_takes_part() -> None:
    """No launcher gave it a RANK."""
    assert python(HAS_MEMORY, env={TAG_VARIABLE: "tag", ONE_RANK: "1"}).stdout == "True\n"


def test_trainer_starts_where_no_file_in_memory_can_be_had(tmp_path: Path) -> None:
    """An older or stranger Python lacks os.memfd_create: then there are no dumps, and nothing else."""
    text = STARTUP.read_text().replace("os.memfd_create", "os.no_such_function")
    (tmp_path / "sitecustomize.py").write_text(text)
    done = python(HAS_MEMORY, str(tmp_path), able=False)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_startup_speaks_python_3_8_and_agrees_with_the_supervisor() -> None:
    """Its syntax is that of the oldest trainer; the signal and the name are written down twice."""
    ast.parse(STARTUP.read_text(), feature_version=(3, 8))
    said = dict(re.findall(r"^(MEMORY_NAME|STACK_SIGNAL) = \"?([\w-]+)", STARTUP.read_text(), re.MULTILINE))
    assert said == {"MEMORY_NAME": dumps.MEMORY_NAME, "STACK_SIGNAL": str(dumps.STACK_SIGNAL)}


def test_the_rest_of_the_environment_is_kept() -> None:
    """PYTHONPATH gets one folder in front, and never an empty entry: that would be the working directory."""
    assert with_stack_dumps({"A": "b"}) == {"A": "b", "PYTHONPATH": str(STARTUP.parent)}
    assert with_stack_dumps({"PYTHONPATH": ""}) == {"PYTHONPATH": str(STARTUP.parent)}
    assert with_stack_dumps({"PYTHONPATH": "/x:/y"}) == {"PYTHONPATH": f"{STARTUP.parent}:/x:/y"}
