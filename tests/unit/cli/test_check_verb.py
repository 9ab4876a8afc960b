"""`trainrelay check` on a machine without Slurm, and with one that is faked at its answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from support.stage_on_disk import OnDisk
from trainrelay.cli import main
from trainrelay.cli.common import every_stage
from trainrelay.config import parse
from trainrelay.errors import SlurmError
from trainrelay.operations import check
from trainrelay.preflight.check_result import CheckResult, fix, ok
from trainrelay.slurm.ask import installed
from trainrelay.slurm.cluster import Node, Partition

pytestmark = pytest.mark.process  # git tells which code the checkout holds

NODE = Node("n1", frozenset({"gpu"}), {"a40": 8}, frozenset(), 64, 256_000, True)


class Told(NamedTuple):
    out: str
    err: str


Typed = Callable[..., Told]


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


@pytest.fixture
def typed(disk: OnDisk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """The verb with this config; the interpreter is not asked, which takes seconds, and there is no Slurm."""
    monkeypatch.chdir(disk.base)
    monkeypatch.setattr(check, "interpreter_check", lambda *_: ok("imports torch"))
    monkeypatch.setattr(check, "installed", lambda: False)

    def call(*words: str, ends: int = 0, **stage: Any) -> Told:
        config = disk.config(**stage).model_dump(mode="json", by_alias=True)
        (disk.base / "config.yaml").write_text(yaml.safe_dump(config))
        assert main(["check", *words]) == ends
        return Told(*capsys.readouterr())

    return call


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch, typed: Typed) -> dict[str, CheckResult]:
    """A Slurm whose answers may be changed."""
    answers = {"ping": ok("Slurm answers"), "request": ok("Slurm accepts the request")}
    monkeypatch.setattr(check, "installed", lambda: True)
    monkeypatch.setattr(check, "slurmctld_check", lambda **_: answers["ping"])
    monkeypatch.setattr(check, "accounting_check", lambda: ok("accounting"))
    monkeypatch.setattr(check, "request_check", lambda *_: answers["request"])
    monkeypatch.setattr(check, "partitions", lambda: [Partition("gpu", True, True, None)])
    monkeypatch.setattr(check, "nodes", lambda: [NODE])
    return answers


def starts(text: str) -> list[str]:
    return [line[:4].strip() for line in text.splitlines()]


def test_all_that_is_well_ends_0_and_without_slurm_one_line_says_what_was_left_out(
    typed: Typed, disk: OnDisk
) -> None:
    out, err = typed()
    assert out.splitlines()[0] == "ok    r: imports torch"
    assert out.splitlines()[1] == (
        f"ok    r/s: trains 2 epochs; its script and config are in {disk.base / 'checkout'}"
    )
    assert out.splitlines()[-1] == (
        "note  there is no sbatch on this machine, so the checks of Slurm are left out"
    )
    assert starts(out) == ["ok", "ok", "ok", "note"]
    assert err == ""


def test_problems_to_fix_end_2_and_are_counted(typed: Typed, disk: OnDisk) -> None:
    (disk.base / "checkout/tools/train.py").unlink()
    out, err = typed(config="b.py", ends=2)
    assert starts(out) == ["ok", "fix", "fix", "note"]
    assert "train.py does not exist; set `trainer.entry` to a file that exists" in out
    assert err.startswith("trainrelay: 2 problems to fix (see above)")


def test_a_wrong_entry_is_one_problem_however_many_stages_have_it(
    typed: Typed, disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing else is concluded from a file that is not there."""
    how = {"kind": "script", "entry": "wrong.py", "script": {"command": "{launcher} {entry} {epochs}"}}
    data = disk.config(trainer=how).model_dump(mode="json", by_alias=True)
    data["runs"]["r"]["stages"]["t"] = {**data["runs"]["r"]["stages"]["s"], "promotion": None}
    (disk.base / "config.yaml").write_text(yaml.safe_dump(data))
    assert main(["check"]) == 2
    (told,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fix")]
    assert told.startswith("fix   r/s, r/t: the training script ")
    assert told.endswith("wrong.py does not exist; set `trainer.entry` to a file that exists")


def test_a_checkout_that_is_not_there_is_told_once(typed: Typed, disk: OnDisk) -> None:
    (disk.base / "checkout").rename(disk.base / "elsewhere")
    told = typed(ends=2)
    assert starts(told.out) == ["fix", "note"]


def test_an_initial_checkpoint_of_the_trainers_own_config_is_looked_for(typed: Typed, disk: OnDisk) -> None:
    (disk.base / "checkout/a.py").write_text("load_from = 'ckpts/bevformer.pth'\n")
    told = typed(ends=2)
    assert "the initial checkpoint" in told.out


def test_a_script_that_may_not_take_the_launchers_option_is_noted(typed: Typed, disk: OnDisk) -> None:
    (disk.base / "checkout/tools/train.py").write_text("import fire\nfire.Fire()\n")
    told = typed(trainer={"launch": "torch.distributed.launch"})
    note = "note  r/s: torch.distributed.launch of torch 2 gives each rank --local-rank, which"
    assert f"{note} ./tools/train.py is not seen to declare; if it takes no such option, set" in told.out


def test_a_best_that_the_trainer_may_remove_is_noted(typed: Typed, disk: OnDisk) -> None:
    (disk.base / "checkout/a.py").write_text("checkpoint_config = dict(interval=1, max_keep_ckpts=1)\n")
    told = typed(checkpoint={"best": "NDS", "mode": "max"})
    said = "note  r/s: the trainer keeps its newest checkpoints alone (max_keep_ckpts: 1)"
    assert said in told.out


def test_a_best_metric_is_held_against_the_sample_log(typed: Typed, disk: OnDisk) -> None:
    (disk.base / "checkout/t.py").touch()
    (disk.base / "checkout/a.log").write_text("epoch 1 step 1/2 loss 0.5\n * Acc@1 50.0 Acc@5 75.0\n")
    script = {"command": "{launcher} {entry} {epochs}", "sample_log": "a.log"}
    how = {"kind": "script", "entry": "t.py", "script": script}
    told = typed(trainer=how, config="t.py", checkpoint={"best": "acc", "mode": "max"})
    said = "; no evaluation in it has acc, which checkpoint.best names; it has acc1, acc5; did you mean acc"
    assert said in told.out
    told = typed(trainer={**how, "script": {"command": script["command"]}}, config="t.py")
    assert "note  r: no sample_log: whether the lines of its log are understood is not known" in told.out


def test_a_complete_stage_needs_no_check(typed: Typed, disk: OnDisk, slurm: dict[str, CheckResult]) -> None:
    disk.train()
    slurm["request"] = fix("refused", "x")
    told = typed()
    assert "ok    r/s: complete, so nothing of it is checked" in told.out


def test_what_would_be_refused_by_the_plan_is_to_be_fixed(typed: Typed, disk: OnDisk) -> None:
    disk.train(hours=10.0)
    told = typed(seed=7, ends=2)
    assert "fix   r/s: training from scratch would archive 80.0 GPU-hours" in told.out


def test_with_slurm_folders_partition_and_request_are_checked(
    typed: Typed, slurm: dict[str, CheckResult]
) -> None:
    told = typed(resources={"gpu": 8, "gpu_model": "a40"})
    out = told.out
    assert "ok    r/s: partition gpu: 1 node with 8 x a40 and at least 8 cores" in out
    assert "ok    r/s: Slurm accepts the request" in out
    assert "ok    trainrelay submit: Slurm accepts the request" in out
    told = typed("r/s", resources={"gpu": 8, "gpu_model": "h100"}, ends=2)
    assert "fix   r/s: partition gpu has no nodes with 8 x h100" in told.out


def test_a_controller_that_slurm_refuses_is_a_note(
    typed: Typed, slurm: dict[str, CheckResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who never submits it may have a partition that takes no job without GPUs."""

    def request_check(flags: Sequence[str], _now: datetime) -> CheckResult:
        return slurm["request"] if any("gres" in flag for flag in flags) else fix("refused", "x")

    monkeypatch.setattr(check, "request_check", request_check)
    told = typed(resources={"gpu": 8, "gpu_model": "a40"})
    assert told.out.splitlines()[-1] == "note  trainrelay submit: refused; x"


def test_a_slurm_that_does_not_answer_is_asked_nothing_more(
    typed: Typed, slurm: dict[str, CheckResult]
) -> None:
    slurm["ping"] = fix("Slurm does not answer", "try again later")
    told = typed(ends=2)
    assert told.out.splitlines()[-2:] == [
        "fix   Slurm does not answer; try again later",
        "note  the other checks of Slurm are left out",
    ]


def test_partitions_that_cannot_be_seen_are_one_line(
    typed: Typed, slurm: dict[str, CheckResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden() -> list[Partition]:
        raise SlurmError("scontrol: Access/permission denied")

    monkeypatch.setattr(check, "partitions", hidden)
    told = typed(ends=2)
    assert "Slurm does not show its partitions (scontrol: Access/permission denied)" in told.out


def test_a_stage_that_is_not_in_the_config_is_told(typed: Typed) -> None:
    told = typed("r/x", ends=2)
    assert "r/x: no such run or stage in the config; use one of: r, r/s" in told.err


def test_runs_with_the_same_python_are_asked_for_together(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def interpreter_check(request: Any, *_: object) -> CheckResult:
        asked.append(request.interpreter)
        return ok("imports torch")

    monkeypatch.setattr(check, "interpreter_check", interpreter_check)
    monkeypatch.setattr(check, "installed", lambda: False)
    data = disk.config().model_dump(mode="json", by_alias=True)
    data["runs"]["q"] = {**data["runs"]["r"]}
    data["runs"]["p"] = {**data["runs"]["r"], "trainer": {**data["runs"]["r"]["trainer"], "device": "cpu"}}
    data["runs"]["q"]["stages"] = {"u": {**data["runs"]["r"]["stages"]["s"], "promotion": None}}
    data["runs"]["p"]["stages"] = {"v": {**data["runs"]["r"]["stages"]["s"], "promotion": None}}
    config = parse(data)
    labels = [label for label, _ in check.checks(config, every_stage(config), datetime(2026, 1, 31))][:2]
    assert labels == ["r, q", "p"]
    assert asked == [sys.executable] * 2


def test_a_run_stands_for_all_of_its_stages(typed: Typed) -> None:
    told = typed("r")
    assert "ok    r/s: trains 2 epochs" in told.out


NO_CLUSTER = """\
scontrol: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host
scontrol: error: fetch_config: DNS SRV lookup failed
scontrol: error: _establish_config_source: failed to fetch config
scontrol: fatal: Could not establish a configuration source
"""


@pytest.fixture
def no_cluster(typed: Typed, disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's commands as Debian installs them, for which nobody has configured a cluster."""
    programs = disk.base / "bin"
    programs.mkdir()
    (programs / "says").write_text(NO_CLUSTER)
    for name in ("sbatch", "scontrol"):
        (programs / name).write_text(f"#!/bin/sh\ncat '{programs}/says' >&2\nexit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(check, "installed", installed)


@pytest.mark.process
@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("site", [None, "notify: [cat]\n"])
def test_commands_of_slurm_without_a_cluster_are_nothing_to_fix(
    typed: Typed, disk: OnDisk, site: str | None
) -> None:
    """Whom to tell is of no cluster."""
    if site:
        (disk.base / "site.yaml").write_text(site)
    out, err = typed()
    assert out.splitlines()[-2:] == [
        "note  Slurm's commands are here, but no cluster is configured for them",
        "note  the other checks of Slurm are left out",
    ]
    assert starts(out) == ["ok", "ok", "ok", "note", "note"], "and no folder is compared with the nodes'"
    assert err == ""


@pytest.mark.process
@pytest.mark.usefixtures("no_cluster")
def test_with_a_site_file_a_cluster_that_is_not_found_is_to_be_fixed(typed: Typed, disk: OnDisk) -> None:
    (disk.base / "site.yaml").write_text("partition: gpu\n")
    told = typed(ends=2)
    assert "fix   no Slurm is configured (slurm.conf, SLURM_CONF or configless) on this machine;" in told.out


@pytest.mark.process
@pytest.mark.usefixtures("no_cluster")
def test_a_slurmctld_that_is_away_is_to_be_fixed_without_a_site_file_too(typed: Typed, disk: OnDisk) -> None:
    (disk.base / "bin/says").write_text("slurm_load_ctl_conf error: Unable to contact slurm controller\n")
    told = typed(ends=2)
    assert "fix   Slurm does not answer" in told.out


def test_a_script_that_begins_with_no_program_is_fixed_first(typed: Typed, disk: OnDisk) -> None:
    """And a Python that is not the trainer's is noted."""
    script = {"command": "{entry} {config} --epochs {epochs}", "backend": "--backend {backend}"}
    trainer = {"kind": "script", "entry": "tools/train.py", "script": script, "interpreter": sys.executable}
    told = typed(trainer=trainer, ends=2)
    assert "fix   r/s: script.command begins with tools/train.py, which is no" in told.out
    script["command"] = "python {entry} {config} --epochs {epochs}"
    (disk.base / "python").symlink_to("/bin/true")
    told = typed(trainer={**trainer, "env": {"PATH": str(disk.base)}})
    assert "note  r/s: script.command begins with python, which is not" in told.out
