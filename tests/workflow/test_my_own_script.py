"""The trainer and config of docs/my_own_script.md: trained, killed, resumed, promoted, and a second stage."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from support.own_script import ASKED, AT_ITS_START, CONFIG, SCRIPT, changed
from trainrelay.config import Config, parse, stage_paths
from trainrelay.errors import Interrupted, UserError
from trainrelay.operations.analyze import judge_stage
from trainrelay.operations.promote import promote_stage
from trainrelay.operations.train import train_stage
from trainrelay.supervise import newest_telemetry
from trainrelay.training import state
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext
from trainrelay.training.plan import stage_plan

KILL = """\
        time.sleep(0.1)
        if epoch == 1 and i == 5 and rank == 1 and not os.path.exists(f"{args.out}/killed"):
            open(f"{args.out}/killed", "w").close()
            os.kill(os.getpid(), 9)
"""

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.xdist_group("trainings")]


def config_of(folder: Path, source: str, script: dict[str, Any] | None = None, **trainer: Any) -> Config:
    """The page's config on this machine's CPU; the script is `source`."""
    (folder / "checkout").mkdir(exist_ok=True)
    (folder / "checkout/train.py").write_text(source)
    data = yaml.safe_load(yaml.safe_dump(CONFIG))
    run = data["runs"]["mine"]
    run["trainer"] |= {"root": str(folder / "checkout"), "device": "cpu", "env": {"OMP_NUM_THREADS": "1"}}
    del run["trainer"]["interpreter"]
    run["trainer"] |= trainer
    run["trainer"]["script"] |= script or {}
    for stage in run["stages"].values():
        del stage["resources"]
    return parse({"out": str(folder / "runs"), **data})


def killed_once(source: str) -> str:
    """The script, of which rank 1 dies once in its second epoch, some time after the first was saved."""
    head, loop, rest = source.partition("    for i in range(10):\n")
    assert loop
    return f"import time\n{head}{loop}{KILL}{rest}"


def trained(config: Config, stage: str) -> dict[str, Any]:
    train_stage(StageContext(config, "mine", stage))
    promote_stage(StageContext(config, "mine", stage))
    return json.loads(stage_paths(config, "mine", stage).checkpoint.read_text())


def attempts_of(config: Config, stage: str) -> list[tuple[str | None, int | None]]:
    found = list_attempts(stage_paths(config, "mine", stage).folder)
    return [(one.end, one.resumed_from.epoch if one.resumed_from else None) for one in found]


def test_it_is_trained_killed_resumed_promoted_and_begins_a_second_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly as the page has it, over gloo with two ranks."""
    monkeypatch.chdir(tmp_path)
    config = config_of(tmp_path, killed_once(SCRIPT))
    record = trained(config, "one")
    assert attempts_of(config, "one") == [("killed", None), ("done", 1)]
    assert record["source"]["epoch"] == 3
    facts = state.read(StageContext(config, "mine", "one"))
    analysis = judge_stage(facts)
    assert (analysis.format, analysis.epochs, analysis.iterations) == ("script", 3, 30)
    assert not [finding for finding in analysis.findings if finding.blocking]
    assert trained(config, "two")["source"]["epoch"] == 2
    argv = list_attempts(stage_paths(config, "mine", "two").folder)[0].argv
    assert argv[-4:] == ["--init", record["source"]["file"]["path"], "--lr", "0.01"]


IN_FOLDERS = (
    (
        "torch.load(args.resume or args.init, map_location=device)",
        '{name: torch.load(f"{args.resume or args.init}/{name}.pt", weights_only=False) for name in PARTS}',
    ),
    (
        "rank = dist.get_rank()\n",
        'rank = dist.get_rank()\nPARTS = ("model", "optimizer", "epoch", "config")\n',
    ),
    ("parser = argparse", "class Config:\n    width = 8\n\nparser = argparse"),
    (
        '        torch.save(state, f"{args.out}/epoch_{epoch}.pt")\n',
        """\
        os.makedirs(folder := f"{args.out}/epoch_{epoch}", exist_ok=True)
        for name in PARTS:
            torch.save({**state, "config": Config()}[name], f"{folder}/{name}.pt")
            if epoch == 1 and name == "model" and not os.path.exists(f"{args.out}/killed"):
                open(f"{args.out}/killed", "w").close()
                os.kill(os.getpid(), 9)
""",
    ),
)


def test_checkpoints_that_are_folders_with_an_object_of_its_own_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the midst of the second one, resumed from the first, promoted to a folder; two stages."""
    monkeypatch.chdir(tmp_path)
    asked = {"checkpoints": "epoch_{epoch}/", "classes": ["__main__.Config"]}
    data = config_of(tmp_path, changed(SCRIPT, *IN_FOLDERS), asked).model_dump(mode="json", by_alias=True)
    for name, stage in data["runs"]["mine"]["stages"].items():
        stage["promotion"] = {"target": str(tmp_path / f"best-{name}")}
    config = parse(data)
    record = trained(config, "one")
    assert attempts_of(config, "one") == [("killed", None), ("done", 1)]
    assert record["source"]["epoch"] == 3
    files = {path.name for path in (tmp_path / "best-one").iterdir()}
    assert files == {"model.pt", "optimizer.pt", "epoch.pt", "config.pt"}
    assert trained(config, "two")["source"]["epoch"] == 2
    argv = list_attempts(stage_paths(config, "mine", "two").folder)[0].argv
    assert str(tmp_path / "best-one") in argv


@pytest.mark.long
def test_it_is_trained_behind_a_prefix_that_clears_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed, resumed and promoted as without it; the plan has the whole command."""
    monkeypatch.chdir(tmp_path)
    prefix = ["env", "-i", f"PATH={os.defpath}"]
    config = config_of(tmp_path, killed_once(SCRIPT), prefix=prefix, interpreter=sys.executable)
    argv = stage_plan(StageContext(config, "mine", "one")).launch.argv
    assert argv[:4] == (*prefix, "env")
    assert {"OMP_NUM_THREADS=1", sys.executable} < set(argv)
    assert trained(config, "one")["source"]["epoch"] == 3
    assert attempts_of(config, "one") == [("killed", None), ("done", 1)]
    assert "hook did not attach" not in "".join(capsys.readouterr())


@pytest.mark.long
def test_it_is_trained_as_part_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `-m {module}`, with an import that is relative to its package; killed and resumed."""
    monkeypatch.chdir(tmp_path)
    command = {"command": CONFIG["runs"]["mine"]["trainer"]["script"]["command"]}
    command["command"] = command["command"].replace("{entry}", "-m {module}")
    data = config_of(tmp_path, SCRIPT, command, entry="pkg/train.py").model_dump(mode="json", by_alias=True)
    (tmp_path / "checkout/pkg").mkdir()
    (tmp_path / "checkout/pkg/rate.py").write_text("LR = 0.05\n")
    source = killed_once(SCRIPT).replace("default=0.05", "default=LR")
    (tmp_path / "checkout/pkg/train.py").write_text(f"from .rate import LR\n{source}")
    data["runs"]["mine"]["stages"]["one"]["config"] = "pkg/train.py"
    config = parse(data)
    assert trained(config, "one")["source"]["epoch"] == 3
    assert attempts_of(config, "one") == [("killed", None), ("done", 1)]
    assert "entry" in state.read(StageContext(config, "mine", "one")).ingredients


@pytest.mark.long
def test_a_kind_of_another_package_trains_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed beside trainrelay; killed, and resumed by what its class says of lines and checkpoints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "support/own_kind")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_kind-1.0.dist-info").mkdir()
    (tmp_path / "own_kind-1.0.dist-info/METADATA").write_text("Name: own-kind\nVersion: 1.0\n")
    points = "[trainrelay.trainers]\nown-kind = own_kind:OwnKind\n"
    (tmp_path / "own_kind-1.0.dist-info/entry_points.txt").write_text(points)
    (tmp_path / "train.py").write_text(killed_once(SCRIPT))
    trainer = {"kind": "own-kind", "root": str(tmp_path), "nproc_per_node": 2, "device": "cpu"}
    stage = {"config": "train.py", "epochs": 3, "backends": ["gloo"]}
    run = {"trainer": {**trainer, "entry": "train.py"}, "stages": {"one": stage}}
    config = parse({"out": str(tmp_path / "runs"), "runs": {"mine": run}})
    train_stage(StageContext(config, "mine", "one"))
    assert attempts_of(config, "one") == [("killed", None), ("done", 1)]
    analysis = judge_stage(state.read(StageContext(config, "mine", "one")))
    assert (analysis.format, analysis.epochs, analysis.iterations) == ("script", 3, 30)


@pytest.mark.long
def test_a_script_that_ignores_the_resume_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins with its first epoch, and what is there is not overwritten."""
    monkeypatch.chdir(tmp_path)
    source = killed_once(SCRIPT).replace('first = saved["epoch"] + 1', "pass")
    config = config_of(tmp_path, source, epoch_base=1)
    with pytest.raises(UserError, match="asked to resume after epoch 1"):
        train_stage(StageContext(config, "mine", "one"))
    assert attempts_of(config, "one") == [("killed", None), ("not-resumed", 1)]
    saved = sorted(path.name for path in (tmp_path / "runs/mine/one/work_dir").glob("*.pt"))
    assert saved == ["epoch_0.pt"]


@pytest.mark.long
def test_a_script_that_is_asked_saves_within_an_epoch_and_its_steps_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its second epoch, as the page has it; the file holds what was trained of that."""
    monkeypatch.chdir(tmp_path)
    stop = f"        if rank == 0 and epoch == 1 and i == 3 and not args.resume: os.kill({os.getpid()}, 15)\n"
    wait = "        time.sleep(0.1 if epoch else 0)\n"
    head, loop, rest = SCRIPT.partition("    if rank == 0:\n        state")
    assert loop
    config = config_of(tmp_path, f"import time\n{AT_ITS_START}{head}{stop}{wait}{ASKED}{loop}{rest}")
    with pytest.raises(Interrupted):
        train_stage(StageContext(config, "mine", "one"))
    work_dir = tmp_path / "runs/mine/one/work_dir"
    within = torch.load(work_dir / "epoch_0.pt")
    assert within["iter"] >= 3, "of its second epoch"
    assert trained(config, "one")["source"]["epoch"] == 3
    assert attempts_of(config, "one") == [("interrupted", None), ("done", 1)]
    counted = newest_telemetry(work_dir.parent / "attempts/002")
    assert counted
    assert [rank.steps for rank in counted.ranks] == [20, 20]


@pytest.mark.long
@pytest.mark.parametrize("table", ["csv", "jsonl"])
def test_a_script_that_prints_nothing_and_writes_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Epochs counted from 1, in names alone; the table goes on where it was left."""
    monkeypatch.chdir(tmp_path)
    row = 'f\'{{"epoch": {epoch + 1}, "train_loss": {loss.item()}, "val/acc": 0.5}}\''
    if table == "csv":
        row = '("epoch,train_loss,val_acc\\n" if epoch == 0 else "") + f"{epoch + 1},{loss.item()},0.5"'
    source = killed_once(SCRIPT).replace("print(f", "(f").replace(", flush=True)", ")")
    source = source.replace(
        '        torch.save(state, f"{args.out}/epoch_{epoch}.pt")',
        f'        print({row}, file=open(f"{{args.out}}/metrics.{table}", "a"))\n'
        '        del state["epoch"]\n        torch.save(state, f"{args.out}/m_{epoch + 1}.pt")',
    )
    number = 'first = int(args.resume.rpartition("_")[2][:-3])'
    source = source.replace('first = saved["epoch"] + 1', number)
    config = config_of(tmp_path, source, {"metrics": f"metrics.{table}", "checkpoints": "m_{epoch}.pt"})
    assert trained(config, "one")["source"]["epoch"] == 3
    assert attempts_of(config, "one") == [("killed", None), ("done", 1)]
    analysis = judge_stage(state.read(StageContext(config, "mine", "one")))
    assert (analysis.epochs, analysis.epochs_only) == (3, True)
    assert not [finding for finding in analysis.findings if finding.blocking]
    assert "acc" in analysis.metrics["val"]
    assert torch.load(tmp_path / "runs/mine/one/work_dir/m_3.pt")["model"]
