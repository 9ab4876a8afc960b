"""How the hook comes into a trainer, and what it leaves alone there."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import trainrelay_hook
from trainrelay.supervise.hangs import with_stack_dumps
from trainrelay.supervise.hook import Hook
from trainrelay_hook import files

SOURCES = sorted(Path(trainrelay_hook.__file__).parent.glob("*.py"))
HEAVY = ("torch", "mmcv", "json", "typing", "pathlib", "inspect", "trainrelay", "pydantic")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_hook_speaks_python_3_8_and_imports_nothing_of_trainrelay(path: Path) -> None:
    """Nor anything that a trainer's Python may lack."""
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    modules = {
        name
        for node in ast.walk(tree)
        for name in (
            [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    allowed = {"torch", "trainrelay_hook", *sys.stdlib_module_names}
    assert {name.split(".")[0] for name in modules} <= allowed


class Trainer:
    """Python as a rank of an attempt runs it, with an mmcv that the test writes."""

    def __init__(self, folder: Path) -> None:
        self.own, self.attempt = folder / "own", folder / "attempt"
        self.own.mkdir()
        self.attempt.mkdir()
        self.hook = Hook(self.attempt, 1)

    def mmcv(self, runner: str) -> None:
        (self.own / "mmcv").mkdir()
        (self.own / "mmcv" / "__init__.py").touch()
        (self.own / "mmcv" / "runner.py").write_text(runner)

    def python(self, code: str, *flags: str, on: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        whole = with_stack_dumps({**inherited, "PYTHONPATH": str(self.own), "RANK": "0", **env})
        return subprocess.run(
            [sys.executable, *flags, "-c", code],
            env=self.hook.switched(whole, on=on),
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def note(self) -> dict[str, object] | None:
        path = self.attempt / files.FOLDER / files.NOTE.format(0)
        return json.loads(path.read_text()) if path.exists() else None


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    """A rank in a folder of a trainer."""
    return Trainer(tmp_path)


@pytest.mark.process
def test_a_trainer_without_mmcv_is_left_as_it_is(trainer: Trainer) -> None:
    """Its modules but three, its sys.path; and nothing is reported as missing."""
    code = "import sys; print(sys.path, sorted(set(sys.modules) - {'faulthandler'}))"
    with_us, without = trainer.python(code), trainer.python(code, on=False)
    assert (with_us.stderr, without.stderr) == ("", "")
    added = set(ast.literal_eval(with_us.stdout.split("] ", 1)[1])) - set(
        ast.literal_eval(without.stdout.split("] ", 1)[1])
    )
    assert with_us.stdout.split("] ")[0] == without.stdout.split("] ")[0]
    assert not added & set(HEAVY), added
    assert trainer.note == {"format": 1, "attached": [], "error": None}
    assert trainer.hook.absent() is None


@pytest.mark.process
def test_it_attaches_when_the_runner_is_imported_and_notes_it(trainer: Trainer) -> None:
    """Imported from where the trainer has it; the rest of mmcv as ever."""
    trainer.mmcv("class BaseRunner:\n    def call_hook(self, fn_name):\n        print('ran', fn_name)\n")
    code = "import mmcv.runner as r; r.BaseRunner().call_hook('after_train_iter'); print(r.__file__)"
    done = trainer.python(code)
    assert done.stdout.splitlines() == ["ran after_train_iter", str(trainer.own / "mmcv" / "runner.py")], (
        done.stderr
    )
    assert trainer.note == {"format": 1, "attached": ["mmcv.runner"], "error": None}
    assert trainer.hook.absent() is None


@pytest.mark.process
def test_another_mmcv_trains_without_it_and_is_reported(trainer: Trainer) -> None:
    """One without a BaseRunner; the sentence names what was missing."""
    trainer.mmcv("x = 1\n")
    done = trainer.python("import mmcv.runner; print(mmcv.runner.x)")
    assert (done.stdout, done.stderr) == ("1\n", "")
    said = trainer.hook.absent() or ""
    assert said.startswith("the hook did not attach: on rank 0 AttributeError: ")
    assert "BaseRunner" in said


@pytest.mark.process
def test_another_torch_trains_without_counted_steps_and_is_reported(trainer: Trainer) -> None:
    """One whose optimizers are hooked into in no known way."""
    (trainer.own / "torch" / "optim").mkdir(parents=True)
    for package in ("torch", "torch/optim"):
        (trainer.own / package / "__init__.py").touch()
    (trainer.own / "torch" / "optim" / "optimizer.py").write_text("class Optimizer: pass\n")
    done = trainer.python(
        "import torch.optim.optimizer as o; print(vars(o.Optimizer).keys() >= {'__dict__'})"
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
    said = trainer.hook.absent() or ""
    assert said.startswith("the hook did not attach: on rank 0 AttributeError: ")
    assert "_hook_for_profile" in said


@pytest.mark.process
@pytest.mark.parametrize("flag", ["-I", "-E", "-S"])
def test_a_python_that_reads_no_environment_is_reported(trainer: Trainer, flag: str) -> None:
    """It runs, nothing is noted, and its end tells so."""
    assert trainer.python("print(1)", flag).stdout == "1\n"
    assert (trainer.hook.absent() or "").startswith("the hook did not attach: no rank loaded it (")


@pytest.mark.process
def test_a_sitecustomize_that_comes_first_is_reported(trainer: Trainer) -> None:
    """The user's wins, as Python has it."""
    (trainer.own / "sitecustomize.py").write_text("mine = True\n")
    inherited = trainer.hook.switched(with_stack_dumps({**os.environ, "RANK": "0"}), on=True)
    path = f"{trainer.own}{os.pathsep}{inherited['PYTHONPATH']}"
    code = "import sitecustomize; print(sitecustomize.mine)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n", done.stderr
    assert trainer.note is None
    assert "another sitecustomize comes first" in (trainer.hook.absent() or "")


@pytest.mark.process
def test_switched_off_nothing_is_loaded_noted_or_missed(trainer: Trainer) -> None:
    """Not even where the supervisor itself runs inside of another trainer."""
    done = trainer.python(
        "import sys; print('trainrelay_hook' in sys.modules)",
        on=False,
        TRAINRELAY_HOOK="/another/settings.json",
    )
    assert (done.stdout, done.stderr, trainer.note) == ("False\n", "", None)
    assert trainer.hook.absent() is None


@pytest.mark.process
@pytest.mark.parametrize("settings", ["{", '{"format": 2}', "[]"])
def test_settings_that_it_does_not_understand_switch_it_off(trainer: Trainer, settings: str) -> None:
    """Of a later version, say, or damaged; the training runs, and the reason is noted."""
    trainer.mmcv("class BaseRunner:\n    def call_hook(self, fn_name): pass\n")
    trainer.hook.switched({}, on=True)
    (trainer.attempt / files.FOLDER / files.SETTINGS).write_text(settings)
    env = with_stack_dumps({**os.environ, "RANK": "0", "PYTHONPATH": str(trainer.own)})
    env[files.VARIABLE] = str(trainer.attempt / files.FOLDER / files.SETTINGS)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import mmcv.runner; print(hasattr(mmcv.runner.BaseRunner.call_hook, '__wrapped__'))",
        ],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
    assert (trainer.hook.absent() or "").startswith("the hook did not attach: on rank 0 ")


@pytest.mark.process
def test_a_note_that_cannot_be_written_costs_the_trainer_nothing(trainer: Trainer) -> None:
    """A full disk or a folder that is gone: no output, no failure."""
    env = with_stack_dumps({**os.environ, "RANK": "0", files.VARIABLE: "/no/such/folder/settings.json"})
    done = subprocess.run(
        [sys.executable, "-c", "print(1)"], env=env, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
