"""What `trainrelay plan` prints: prices, times, sentences broken at a terminal's edge, commands never."""

from __future__ import annotations

import json
import shlex
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.stage_on_disk import OnDisk
from trainrelay.cli import main
from trainrelay.cli import plan as view
from trainrelay.config import Config, parse
from trainrelay.errors import SlurmError
from trainrelay.preflight.check_result import fix, ok
from trainrelay.records import AttemptRecord, CheckpointRecord
from trainrelay.slurm.ask import Start
from trainrelay.slurm.cluster import JobLimits, Partition
from trainrelay.system.files import write_json
from trainrelay.training.context import StageContext
from trainrelay.training.plan import plan, stage_plan

NOW = datetime(2026, 1, 31, 10, 0, 0)


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


def validation_scores(disk: OnDisk) -> None:
    """A complete training of 2 epochs x 100 iterations, 36 s each."""
    disk.train(hours=2.0)
    disk.change(last_epoch=2, last_iteration=100, iters_per_epoch=100)


def test_a_stage_that_was_measured_is_priced_with_its_reckoning(disk: OnDisk) -> None:
    validation_scores(disk)
    planned = stage_plan(StageContext(disk.config(epochs=4), "r", "s"))
    how = "2 epochs x 100 iterations x 36 s x 8 ranks; 16.0 spent so far"
    assert view.price(planned) == f"16.0 GPU-hours ({how})"


def test_a_stage_that_was_not_is_unknown_and_the_line_says_how_to_learn_it(disk: OnDisk) -> None:
    said = view.price(stage_plan(StageContext(disk.config(), "r", "s")))
    assert said.startswith("GPU-hours unknown until an attempt has trained; ")
    assert "trainrelay watch r/s" in said


def test_a_complete_stage_costs_nothing_more(disk: OnDisk) -> None:
    validation_scores(disk)
    assert (
        view.price(stage_plan(StageContext(disk.config(), "r", "s")))
        == "nothing more now; 16.0 spent so far (GPU-hours)"
    )


def running(disk: OnDisk, **attempt: Any) -> None:
    """An attempt that goes on, after the first, which reached epoch 1 of 2."""
    disk.train(hours=2.0)
    (disk.paths.folder / "attempts/002").mkdir()
    first = disk.paths.folder / "attempts/001/attempt.json"
    record = AttemptRecord.model_validate_json(first.read_text())
    begun = {"number": 2, "end": None, "ended_s": None, "final_checkpoint": None, "started_s": time.time()}
    ended = {"end": "killed", "final_checkpoint": None, "last_epoch": 1, "last_iteration": 100, **attempt}
    write_json(first.parents[1] / "002/attempt.json", record.model_copy(update=begun))
    write_json(first, record.model_copy(update=ended))
    disk.checkpoint.rename(disk.checkpoint.with_name("epoch_1.pth"))


def test_a_stage_that_trains_now_costs_what_is_left_of_it(disk: OnDisk) -> None:
    running(disk, iters_per_epoch=100, s_per_iter=36.0)
    planned = stage_plan(StageContext(disk.config(), "r", "s"))
    assert planned.action == "wait"
    said = view.price(planned)
    assert said.startswith("at most 8.0 GPU-hours (1 epochs x 100 iterations x 36 s x 8 ranks; 16.0 spent")
    assert planned.gpu_h_left == pytest.approx(8.0)


def test_a_stage_that_trains_now_and_was_not_measured_is_unknown(disk: OnDisk) -> None:
    running(disk, last_epoch=None)
    planned = stage_plan(StageContext(disk.config(), "r", "s"))
    assert view.price(planned).startswith("GPU-hours unknown")
    assert "trainrelay watch r/s then shows the time left" in view.price(planned)
    assert planned.gpu_h_left is None


def test_a_short_training_is_not_said_to_cost_nothing(disk: OnDisk) -> None:
    validation_scores(disk)
    disk.change(s_per_iter=0.01, ended_s=9.0)
    said = view.price(stage_plan(StageContext(disk.config(epochs=4), "r", "s")))
    assert said == (
        "under 0.1 GPU-hours (2 epochs x 100 iterations x 0.01 s x 8 ranks; under 0.1 spent so far)"
    )


def two_stages(disk: OnDisk, **trainer: Any) -> Config:
    """`s`, which may be trained already, and `t`, which starts from it."""
    data = disk.config(epochs=3).model_dump(mode="json", by_alias=True)
    data["runs"]["r"]["stages"]["t"] = {"config": "a.py", "epochs": 1, "init_from": "s", "backends": ["gloo"]}
    data["runs"]["r"]["stages"]["t"]["resources"] = {"gpu": 8}
    data["runs"]["r"]["trainer"].update(trainer)
    return parse(data)


def test_what_an_earlier_stage_promoted_and_is_gone_is_noted(disk: OnDisk) -> None:
    def noted(parent: str | None = None) -> bool:
        planned = stage_plan(StageContext(two_stages(disk), "r", "t"), parent)
        again = f"run: snakemake --profile local --forcerun {disk.paths.checkpoint}"
        return any(again in note for note in planned.notes)

    disk.train()
    assert not noted()  # s is still to promote it
    target = disk.paths.target
    assert target is not None
    record = CheckpointRecord(run="r", stage="s", source=disk.facts(), target=str(target), accepted=None)
    write_json(disk.paths.checkpoint, record)
    assert noted()
    assert not noted("s")  # it trains, and promotes, first
    target.parent.mkdir()
    target.touch()
    assert not noted()


def test_no_file_is_named_that_an_earlier_stage_replaces_before_the_next_begins(disk: OnDisk) -> None:
    """Its iterations were raised, say. What comes of a folder is not compared with it."""
    data = two_stages(disk).model_dump(mode="json", by_alias=True)
    stages, command = data["runs"]["r"]["stages"], "{launcher} {entry} {iters}"
    script = {"command": command, "checkpoints": "c-{iter}/", "init": "--i {init_checkpoint}"}
    data["runs"]["r"]["trainer"].update(kind="script", entry="a.py", script=script)
    for one, iters in (("s", 60), ("t", 20)):
        stages[one].update(epochs=None, iters=iters, promotion=None, config="a.py")
    stages["t"]["init_match_min"] = 0.5
    at = StageContext(parse(data), "r", "t")
    record = CheckpointRecord(run="r", stage="s", source=disk.facts(), target=None, accepted=None)
    disk.paths.folder.mkdir(parents=True)
    write_json(disk.paths.checkpoint, record)
    for parent, named in ((None, "epoch_2.pth"), ("s", "c-60")):
        planned = stage_plan(at, parent)
        assert (planned.action, planned.launch.argv[-1].rpartition("/")[2]) == ("train", named), planned.why
        assert any(note.startswith("init_match_min compares nothing: ") for note in planned.notes)


def written(disk: OnDisk, config: Config) -> Path:
    path = disk.base / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", by_alias=True)))
    return path


def test_the_sum_names_what_is_not_in_it(disk: OnDisk, capsys: pytest.CaptureFixture[str]) -> None:
    validation_scores(disk)
    assert main(["plan", "--configfile", str(written(disk, two_stages(disk)))]) == 0
    assert capsys.readouterr().out.endswith(
        "\n\nin all 8.0 GPU-hours still to spend; not counting r/t, whose cost is unknown\n"
    )


def test_a_stage_that_waits_for_another_is_not_asked_for(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def could_start(flags: tuple[str, ...]) -> Start:
        asked.append(flags)
        return Start(NOW, "n1", "gpu")

    monkeypatch.setattr(view, "installed", lambda: True)
    monkeypatch.setattr(view, "partitions", list)
    monkeypatch.setattr(view, "job_limits", JobLimits)
    monkeypatch.setattr(view, "could_start", could_start)
    config = two_stages(disk)
    starts = view.starts_of(plan(config), NOW)
    assert starts == {
        "r/s": "now, on n1 (partition gpu)",
        "r/t": "after s has been promoted; then Slurm decides",
    }
    assert len(asked) == 1


@pytest.mark.process
def test_what_slurm_would_accept_and_never_start_is_told(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sbatch --test-only` says now for a time above the partition's limit."""
    data = two_stages(disk).model_dump(mode="json", by_alias=True)
    for stage in data["runs"]["r"]["stages"].values():
        stage["resources"] = {"gpu": 8, "runtime_min": 40}
    config = parse(data)
    monkeypatch.setattr(view, "installed", lambda: True)
    monkeypatch.setattr(view, "could_start", lambda _flags: Start(NOW))
    monkeypatch.setattr(view, "partitions", lambda: [Partition("gpu", True, True, 30)])
    starts = view.starts_of(plan(config), NOW)
    never = "never: partition gpu allows 30 min, runtime_min asks for 40; set runtime_min: 30;"
    assert all(said.startswith(never) for said in starts.values()), starts
    monkeypatch.setattr(view, "partitions", lambda: [Partition("gpu", True, True, 60)])
    starts = view.starts_of(plan(config), NOW)
    assert starts["r/s"] == "now"
    assert "; with --profile slurm-chain: as one job they would ask for 80 min" in starts["r/t"]


def test_a_refusal_and_a_missing_slurm_are_told(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Any:
        raise SlurmError("Invalid account")

    config = disk.config()
    monkeypatch.setattr(view, "could_start", refused)
    monkeypatch.setattr(view, "partitions", refused)
    monkeypatch.setattr(view, "installed", lambda: True)
    monkeypatch.setattr(view, "slurmctld_check", lambda: ok("Slurm answers"))
    said = "Slurm refuses the request: Invalid account"
    assert view.starts_of(plan(config), NOW) == {"r/s": said}
    monkeypatch.setattr(view, "slurmctld_check", lambda: fix("Slurm does not answer (no)", "try again later"))
    said = "Slurm does not answer (no); try again later"
    assert view.starts_of(plan(config), NOW) == {"r/s": said}
    monkeypatch.setattr(view, "installed", lambda: False)
    said = "unknown: there is no sbatch on this machine"
    assert view.starts_of(plan(config), NOW) == {"r/s": said}


def test_a_complete_stage_is_not_to_be_started(disk: OnDisk) -> None:
    validation_scores(disk)
    config = disk.config()
    assert view.starts_of(plan(config), NOW) == {"r/s": "starts nothing"}


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_sentences_are_broken_at_a_terminals_edge_and_commands_never(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    path = written(disk, disk.config())
    assert main(["plan", "--configfile", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    planned = stage_plan(StageContext(disk.config(), "r", "s"))
    assert f"  sbatch   {shlex.join(planned.sbatch)}" in lines
    argv = shlex.join(planned.launch.argv)
    assert any(line.startswith("  command  ") and line.endswith(argv) for line in lines)
    widest = max(columns, 40)
    sentences = [line for line in lines if not line.startswith(("  sbatch", "  cwd", "  command"))]
    assert all(len(line) <= widest or " " not in line[11:].strip() for line in sentences)
    assert any(line.startswith(" " * 11) for line in lines) == (columns < 200)


def test_elsewhere_each_line_is_whole(disk: OnDisk, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--configfile", str(written(disk, disk.config()))]) == 0
    assert not any(line.startswith("   ") for line in capsys.readouterr().out.splitlines())


def test_a_secret_is_in_no_plan_and_what_is_none_is(disk: OnDisk, capsys: pytest.CaptureFixture[str]) -> None:
    env = {"HF_TOKEN": "short", "NCCL_DEBUG": "WARN"}
    rung = {"own": {"backend": "gloo", "env": {"OWN_KEY": "short"}}}
    data = two_stages(disk, env=env).model_dump(mode="json", by_alias=True) | {"rungs": rung}
    data["runs"]["r"]["stages"]["s"]["backends"] = ["own"]
    path = written(disk, parse(data))
    assert main(["plan", "--configfile", str(path)]) == 0
    assert "HF_TOKEN='***' NCCL_DEBUG=WARN OWN_KEY='***' " in (said := capsys.readouterr().out)
    assert main(["plan", "--json", "--configfile", str(path)]) == 0
    first = json.loads(printed := capsys.readouterr().out)[0]
    shown = {"HF_TOKEN": "***", "NCCL_DEBUG": "WARN", "OWN_KEY": "***"}
    assert first["env"] == {**shown, "PYTHONPATH": str(disk.base / "checkout")}
    assert "short" not in said + printed


def test_the_json_holds_the_same_figures(disk: OnDisk, capsys: pytest.CaptureFixture[str]) -> None:
    validation_scores(disk)
    assert main(["plan", "--json", "--configfile", str(written(disk, disk.config(epochs=4)))]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["gpu_h_so_far"], found["gpu_h_left"], found["when"]) == (16.0, 16.0, None)


SCRIPT = """\
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", default=2, type=int)
parser.add_argument("--output_dir", default="")
parser.add_argument("--resume", default="")
parser.add_argument("--start_epoch", default=0, type=int)
parser.add_argument("--device", default="cuda")
parser.add_argument("--dist_backend", default="nccl")
"""


@pytest.fixture
def undeclared(disk: OnDisk) -> Config:
    """Two options that the script does not declare, in the first of two stages."""
    (disk.base / "checkout/main.py").write_text(SCRIPT)
    trainer = {"kind": "metriclogger", "root": str(disk.base / "checkout"), "entry": "main.py"}
    common = {"config": "main.py", "epochs": 2, "backends": ["gloo"]}
    stages = {"s": {**common, "options": {"lrr": 1, "dropp": 2}}, "t": common}
    run = {"trainer": {**trainer, "nproc_per_node": 2, "device": "cpu"}, "stages": stages}
    return parse({"out": str(disk.base / "runs"), "runs": {"r": run}})


def test_a_refused_stage_ends_2_and_says_one_reason_a_line(
    disk: OnDisk, undeclared: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(disk, undeclared)
    assert main(["plan", "--configfile", str(path)]) == 2
    out, err = capsys.readouterr()
    said = [line for line in out.splitlines() if line.startswith("  refused  ")]
    assert len(said) == 2
    assert said[0] == "  refused  options.dropp: main.py declares no such argument"
    assert said[1].startswith("  refused  options.lrr: main.py declares no such argument")
    assert "  state    fresh: nothing trained yet" in out.splitlines()
    assert "r/t  trains 2 epochs" in out
    assert err == "trainrelay: refused (see above): r/s\n"
    assert main(["plan", "--json", "--configfile", str(path)]) == 2
    first, second = json.loads(capsys.readouterr().out)
    assert [why in line for why, line in zip(first["refused"], said, strict=True)] == [True, True]
    assert second["refused"] == []
    assert main(["plan", "r/t", "--configfile", str(path)]) == 0


def test_snakemake_says_one_reason_a_line_too(undeclared: Config) -> None:
    message = plan(undeclared)[0].message().splitlines()
    assert message[0] == "r/s: refused"
    assert "lrr" in message[2]
    assert "dropp" in message[3]


def test_a_guarded_change_ends_2_and_names_the_command_with_this_config(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.train(hours=2.0)
    path = written(disk, disk.config(seed=7))
    assert main(["plan", "r/s", "--configfile", str(path)]) == 2
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  refused  ")]
    assert said.startswith("  refused  training from scratch would archive 16.0 GPU-hours")
    assert f"run: trainrelay accept r/s --configfile {shlex.quote(str(path))} --retrain" in said


@pytest.mark.parametrize(
    ("which", "shown"), [([], "st"), (["r"], "st"), (["r/t"], "t"), (["r/t", "r/s"], "st")]
)
def test_a_run_or_a_stage_may_be_named(
    disk: OnDisk, capsys: pytest.CaptureFixture[str], which: list[str], shown: str
) -> None:
    path = written(disk, two_stages(disk))
    assert main(["plan", *which, "--configfile", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("r/")] == [f"r/{name}" for name in shown]


def test_a_name_that_is_none_is_refused_with_those_that_are(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "r/x", "--configfile", str(written(disk, disk.config()))]) == 2
    assert "r/x: no such run or stage in the config; use one of: r, r/s" in capsys.readouterr().err


@pytest.mark.parametrize(("release", "noted"), [("2.6", True), ("2.5", False), ("", False)])
def test_a_resume_that_the_trainers_torch_refuses_is_noted(
    disk: OnDisk, undeclared: Config, monkeypatch: pytest.MonkeyPatch, release: str, noted: bool
) -> None:
    """As far as its version is known by its files; `check` asks the trainer's Python."""
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", raising=False)
    monkeypatch.setattr("trainrelay.training.plan.torch_release", lambda *_: release)
    (disk.base / "checkout/main.py").write_text(
        SCRIPT + "import torch\ntorch.load(parser.parse_args().resume)\n"
    )
    notes = stage_plan(StageContext(undeclared, "r", "t")).notes
    assert any("main.py, line 10: torch.load without weights_only" in note for note in notes) == noted


def test_a_backend_that_one_rank_cannot_be_told_is_noted(disk: OnDisk, undeclared: Config) -> None:
    """With more ranks it is refused; on the CPU one rank is started as no distributed training."""
    data = undeclared.model_dump(mode="json", by_alias=True)
    data["runs"]["r"]["trainer"] |= {"nproc_per_node": 1, "device": "cuda"}
    for stage in data["runs"]["r"]["stages"].values():
        stage["resources"]["gpu"] = 1

    def notes() -> tuple[str, ...]:
        return stage_plan(StageContext(parse(data), "r", "t")).notes

    (disk.base / "checkout/main.py").write_text(SCRIPT.replace("--dist_backend", "--backend"))
    assert "main.py declares no --dist_backend: its one rank uses what it names, not gloo" in notes()
    data["runs"]["r"]["trainer"]["device"] = "cpu"
    assert not any("dist_backend" in note for note in notes())
    data["runs"]["r"]["trainer"]["device"] = "cuda"
    (disk.base / "checkout/main.py").write_text(SCRIPT)
    assert not any("dist_backend" in note for note in notes())
