"""`kind` names a trainer kind of an installed package; whatever is wrong with it is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trainrelay.config import Config, parse
from trainrelay.errors import ConfigError
from trainrelay.trainers import RUNGS, Follower, StepSeen, kinds
from trainrelay.training.context import StageContext
from trainrelay.training.plan import stage_plan

SOURCE = Path(__file__).parents[2] / "support/own_kind/own_kind.py"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes a package as pip leaves it: its module, and what it says of itself."""
    kinds._installed.cache_clear()
    monkeypatch.syspath_prepend(tmp_path)

    def installed(name: str, module: str, source: str, value: str, kind: str = "own-kind") -> None:
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[trainrelay.trainers]\n{kind} = {value}\n")

    return installed


def config_of(folder: Path, kind: str) -> Config:
    trainer = {"kind": kind, "root": str(folder), "nproc_per_node": 2, "device": "cpu", "entry": "train.py"}
    stage = {"config": "train.py", "epochs": 2, "backends": ["gloo"], "options": {"lr": 0.01}}
    run = {"trainer": trainer, "stages": {"one": stage}}
    return parse({"out": str(folder / "runs"), "runs": {"mine": run}})


def problem(folder: Path, kind: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config_of(folder, kind)
    (said,) = caught.value.problems
    return said


def test_a_kind_of_an_installed_package_is_planned(tmp_path: Path, install: Install) -> None:
    (tmp_path / "train.py").touch()
    install("own-kind", "own_kind_a", SOURCE.read_text(), "own_kind_a:OwnKind")
    argv = stage_plan(StageContext(config_of(tmp_path, "own-kind"), "mine", "one")).launch.argv
    assert argv[-4:] == ("--dist-backend", RUNGS["gloo"].backend, "--lr", "0.01")


def test_a_kind_of_an_installed_package_describes_its_lines(tmp_path: Path, install: Install) -> None:
    """Without a section `script`, which only kind script has."""
    install("own-kind", "own_kind_f", SOURCE.read_text(), "own_kind_f:OwnKind")
    trainer = config_of(tmp_path, "own-kind").runs["mine"].trainer.trainer
    assert Follower(trainer).see("epoch 0 step 3/10 loss 0.5") == StepSeen(1, 3, 10, 0.5, None)


def test_an_unknown_kind_names_those_built_in_and_those_installed(tmp_path: Path, install: Install) -> None:
    install("own-kind", "own_kind_b", SOURCE.read_text(), "own_kind_b:OwnKind")
    assert problem(tmp_path, "own-kin") == (
        "runs.mine.trainer.kind: got 'own-kin'; allowed: mmcv, mmengine, metriclogger, script, own-kind;"
        " did you mean own-kind?"
    )
    assert problem(tmp_path, "mmvc").endswith("did you mean mmcv?")


@pytest.mark.parametrize(
    ("source", "value", "said"),
    [
        ("import no_such_thing", "{}:OwnKind", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("raise SystemExit('hello\\x1b[31m')", "{}:OwnKind", "SystemExit: hello"),
        ("", "{}:OwnKind", "AttributeError"),
        ("OwnKind = dict", "{}:OwnKind", "that is no class derived from trainrelay.trainers.Trainer"),
        ("OwnKind = 1", "{}:OwnKind", "TypeError"),
        (
            "from trainrelay.trainers import Trainer\nclass OwnKind(Trainer): kind = 'own-kind'",
            "{}:OwnKind",
            "TypeError: Can't instantiate abstract class OwnKind",
        ),
        (SOURCE.read_text().replace('"own-kind"', '"other"'), "{}:OwnKind", "its class has kind = 'other'"),
        (SOURCE.read_text().replace('looked_for = "', 'other = "'), "{}:OwnKind", "has no looked_for"),
    ],
)
def test_a_broken_package_is_a_sentence_that_names_it(
    tmp_path: Path, install: Install, request: pytest.FixtureRequest, source: str, value: str, said: str
) -> None:
    module = f"own_kind_{abs(hash(request.node.name))}"
    install("some-package", module, source, value.format(module))
    found = problem(tmp_path, "own-kind")
    assert found.startswith(
        "runs.mine.trainer.kind: got 'own-kind'; the package some-package, which has it as"
    )
    assert said in found
    assert "\x1b" not in found


def test_two_packages_with_one_kind_are_named(tmp_path: Path, install: Install) -> None:
    install("one", "own_kind_c", SOURCE.read_text(), "own_kind_c:OwnKind")
    install("two", "own_kind_d", SOURCE.read_text(), "own_kind_d:OwnKind")
    assert "several packages have it: one, two; uninstall all but one" in problem(tmp_path, "own-kind")


def test_a_package_does_not_replace_what_is_built_in(tmp_path: Path, install: Install) -> None:
    install("own-kind", "own_kind_e", "raise RuntimeError", "own_kind_e:OwnKind", kind="mmcv")
    assert config_of(tmp_path, "mmcv").runs["mine"].trainer.trainer is kinds.TRAINERS["mmcv"]
