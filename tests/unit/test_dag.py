"""What the rules ask of Snakemake for a training."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from support.project import CONFIG
from support.snakemake_start import about_to_start
from support.stage_on_disk import RANKS, OnDisk
from trainrelay import dag
from trainrelay.config import Config, load_config, parse
from trainrelay.system.hints import TYPED_VARIABLE

WILDCARDS = SimpleNamespace(run="r")


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


def test_a_training_asks_for_its_gpus_until_it_is_complete_and_then_for_none(disk: OnDisk) -> None:
    """Asked at submission: the same function, made before the training, sees that it ended."""
    gpu = dag.Plans(disk.config(), []).resources("s")["gpu"]
    assert gpu(WILDCARDS) == RANKS
    disk.train()
    assert gpu(WILDCARDS) == 0


def test_a_changed_training_asks_for_its_gpus_again(disk: OnDisk) -> None:
    disk.train()
    assert dag.Plans(disk.config(seed=7), []).resources("s")["gpu"](WILDCARDS) == RANKS


def test_every_ingredient_and_the_epochs_are_params_that_snakemake_compares(disk: OnDisk) -> None:
    texts = [param(WILDCARDS) for param in dag.Plans(disk.config(), []).signature_params("s")]
    assert "config: optimizer.lr = 0.1" in texts
    assert "world size = 8" in texts
    assert "epochs = 2" in texts


def test_another_best_is_promoted_again_and_trains_nothing(disk: OnDisk) -> None:
    """Snakemake compares params: those of promote change with the metric, those of train do not."""

    def params(**stage: Any) -> tuple[str, list[str]]:
        config = disk.config(**stage)
        trained = [param(WILDCARDS) for param in dag.Plans(config, []).signature_params("s")]
        return dag.promotion_param(config, "r", "s"), trained

    latest, best = params(), params(checkpoint={"best": "amota", "mode": "max"})
    other = params(checkpoint={"best": "NDS", "mode": "max"})
    assert [latest[0], best[0], other[0]] == [
        "promotion target = ckpts/s.pth",
        "promotion target = ckpts/s.pth, best amota (max)",
        "promotion target = ckpts/s.pth, best NDS (max)",
    ]
    assert latest[1] == best[1] == other[1]


@pytest.mark.parametrize(
    ("executor", "groups", "said"),
    [
        ("submitit", {}, ""),
        ("slurm", {}, "SLURM_CONF is /opt/x/slurm.conf, which --profile slurm-native keeps from its jobs"),
        ("submitit", {"train_stage1": "chain"}, "the profile's groups name none of train_s\n"),
    ],
)
def test_what_a_profile_says_and_does_not_do_is_told_at_the_start(
    disk: OnDisk,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    executor: str,
    groups: dict[str, str],
    said: str,
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/opt/x/slurm.conf")
    monkeypatch.setenv(TYPED_VARIABLE, "mine.yaml")
    monkeypatch.chdir(disk.base)
    workflow = about_to_start(disk, executor, groups)
    dag.Plans(disk.config(), []).hook_into(workflow)
    workflow._onstart(None)
    told = capsys.readouterr().err
    assert said in told
    assert bool(told) == bool(said)


def test_of_a_failed_group_no_stage_is_told_that_was_not_due(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = disk.config().model_dump(mode="json", by_alias=True)
    stages = data["runs"]["r"]["stages"]
    stages["t"] = {**stages["s"], "init_from": "s", "promotion": None}
    plans = dag.Plans(parse(data), [])
    workflow, told = about_to_start(disk, "submitit", {}), list[str]()
    jobs = [SimpleNamespace(output=[plans._plans["r", stage].at.paths.train]) for stage in "st"]
    workflow.scheduler = SimpleNamespace(failed=[SimpleNamespace(jobs=jobs, output=[])])
    monkeypatch.setattr(dag, "tell_of_failed_job", lambda at, _: told.append(at.name))
    plans._tell_of_failed(workflow)
    assert told == ["r/s"]


def test_what_snakemake_prints_of_a_training_moves_no_cursor(disk: OnDisk) -> None:
    """The reason of its last end, and the refusal because of it, quote what a trainer printed."""
    disk.train()
    disk.change(end="killed", reason="\x1b[2J\u202ex", final_checkpoint=None)
    plans = dag.Plans(disk.config(), [])
    said = plans.message("r", "s", {})
    assert r"(\x1b[2J\u202ex)" in said
    params = [param(WILDCARDS) for param in plans.signature_params("s")]
    assert all(line.isprintable() for line in (*said.splitlines(), *params))


def test_a_config_that_cannot_be_read_ends_snakemake_with_a_printable_sentence(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[2J.yaml"
    with pytest.raises(SystemExit, match=r"^trainrelay: .*\\x1b\[2J\.yaml: 1 problem\n  not found"):
        dag.check(str(path))


def test_messages_name_what_alone_says_what_snakemake_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that you named, however it spells a value; a snapshot of a part of one, or with --config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TYPED_VARIABLE, "mine.yaml")
    file = Path("mine.yaml")
    file.write_text(yaml.safe_dump(CONFIG))
    for data in (CONFIG, {**CONFIG, "out": "runs"}):
        dag.load(data, ["mine.yaml"])
        assert os.environ[TYPED_VARIABLE] == "mine.yaml"
    dag.load({**CONFIG, "out": "elsewhere"}, ["mine.yaml"])
    assert load_config(Path(os.environ[TYPED_VARIABLE])).out == "elsewhere"
    file.write_text(yaml.safe_dump({"training": CONFIG}))
    dag.load(CONFIG, ["mine.yaml"])
    assert load_config(Path(os.environ[TYPED_VARIABLE])).out == "runs"


def forked() -> Config:
    """stage1, from which stage2 and stage3 start, and another run of one stage."""
    data = deepcopy(CONFIG)
    stages = data["runs"]["driving"]["stages"]
    stages["stage3"] = {**deepcopy(stages["stage2"]), "work_dir": None}
    data["runs"]["other"] = deepcopy(data["runs"]["driving"])
    data["runs"]["other"]["stages"] = {"stage1": {**deepcopy(stages["stage1"]), "promotion": None}}
    return parse(data, "config.yaml")


def grouped(*names: str, group: object) -> dict[tuple[str, str], object]:
    return dict.fromkeys([(name.split("/")[0], name.split("/")[1]) for name in names], group)


@pytest.mark.parametrize(
    "groups",
    [
        grouped("driving/stage1", "driving/stage2", group="chain"),
        grouped("driving/stage2", "driving/stage3", group=None),
        {**grouped("driving/stage2", group="one"), **grouped("driving/stage3", group="another")},
    ],
)
def test_a_chain_and_trainings_in_jobs_of_their_own_may_start(
    groups: dict[tuple[str, str], object],
) -> None:
    assert dag.at_once(forked(), groups) == []


@pytest.mark.parametrize(
    "names",
    [
        ("driving/stage1", "driving/stage2", "driving/stage3"),
        ("driving/stage2", "driving/stage3"),
        ("driving/stage2", "other/stage1"),
    ],
)
def test_trainings_that_would_run_at_once_in_one_job_are_refused(names: tuple[str, ...]) -> None:
    """Slurm gives a group the GPUs of its largest member, once."""
    (line,) = dag.at_once(forked(), grouped(*names, group="chain"))
    assert line.startswith(f"{names[-2]} and {names[-1]} would train at once in one job, on the same GPUs:")
