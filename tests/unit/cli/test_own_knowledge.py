"""YAML files of yours that say what metrics mean: `knowledge` in the config."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from support.mmcv_logs import write_mmcv_log
from support.snakemake_start import about_to_start
from support.stage_on_disk import OnDisk
from trainrelay import dag
from trainrelay.analysis import Knowledge, learn
from trainrelay.analysis.knowledge import best_for
from trainrelay.cli import main
from trainrelay.config import load_config
from trainrelay.operations import check
from trainrelay.operations.analyze import analyze_stage
from trainrelay.operations.report import write_reports
from trainrelay.preflight.check_result import ok
from trainrelay.preflight.knowledge import use_knowledge
from trainrelay.training.context import StageContext
from trainrelay.training.launch_id import LAUNCH_VARIABLE, OF_CONTROLLER

OWN = """
name: my network
total: objective
groups: {Mine: {title: My losses, text: What my network learns.}}
metrics:
  - {pattern: objective, group: Mine, label: the objective}
  - {pattern: '(?:left|right)_part', group: Mine, label: a part, meaning: half of the objective}
"""


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    learn(())


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Types a verb beside a config that names `own.yaml`."""
    monkeypatch.chdir(tmp_path)
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    plain = disk.config().model_dump(mode="json", exclude_unset=True)
    Path("config.yaml").write_text(yaml.safe_dump({**plain, "knowledge": ["own.yaml"]}))

    def run(*argv: str, own: str | None = OWN) -> int:
        if own is not None:
            Path("own.yaml").write_text(own)
        return main(list(argv))

    return run


def table(*columns: str) -> None:
    rows = (",".join([str(at), *(f"{9 - at / 5:.3f}" for _ in columns)]) for at in range(30))
    Path("log.csv").write_text("\n".join([",".join(["epoch", *columns]), *rows]))


def test_a_log_is_judged_and_a_metric_explained_by_it(typed, capsys):
    table("objective", "left_part", "train_accuracy")
    assert typed("analyze", "log.csv", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"] == "objective"
    assert "dropped" in found["verdict_reason"]
    assert typed("explain", "left_part") == 0
    said = capsys.readouterr().out
    assert "half of the objective" in said
    assert "my network" in said


def test_it_is_laid_over_what_the_package_knows_of_a_model(typed, capsys):
    """A file of a new head's metrics leaves all others as they are."""
    write_mmcv_log(Path("train.log"), stage=2)
    own = "metrics: [{pattern: planning.loss_ade, group: planning, label: mine}]"
    assert typed("explain", "train.log", own=own) == 0
    said = capsys.readouterr().out
    assert "mine" in said
    assert "Tracking losses" in said


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (None, "; see docs/judgement.md"),
        ("- a list", "is not a mapping (key: value lines); see docs/judgement.md"),
        (
            "metrics: [{pattern: '(', group: a, label: b}]",
            "metrics.0.pattern: got '('; is no regular expression",
        ),
        (
            "metrics: [{patern: a, group: a, label: b}]",
            "metrics.0.patern: unknown key",
        ),
        ("name: a\nname: b", "duplicate key 'name' (lines 1 and 2)"),
        (
            "a: &a [x, x]\nb: &b [*a, *a]\n"
            + "".join(
                f"c{n}: &c{n} [*{'b' if not n else f'c{n - 1}'}"
                + (f", *{'b' if not n else f'c{n - 1}'}" * 9)
                + "]\n"
                for n in range(8)
            ),
            "more than a config may hold",
        ),
    ],
)
@pytest.mark.parametrize("verb", [("analyze", "log.csv"), ("explain", "left_part")])
def test_a_mistake_in_it_is_refused_with_its_place(typed, capsys, own, said, verb):
    table("objective", "acc")
    assert typed(*verb, own=own) == 2
    err = capsys.readouterr().err
    assert "own.yaml: " in err
    assert said in err
    assert "Traceback" not in err


@pytest.mark.process
def test_check_tells_of_a_mistake_in_it(typed, capsys, monkeypatch):
    monkeypatch.setattr(check, "interpreter_check", lambda *_: ok("imports torch"))
    assert typed("check", own="metrics: 3") == 2
    assert "fix   own.yaml: metrics: got 3" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [("plan",), ("submit",)])
def test_a_start_with_a_mistake_in_it_is_refused_before_days_of_training(typed, capsys, verb):
    assert typed(*verb, own="metrics: 3") == 2
    err = capsys.readouterr().err
    assert "own.yaml: 1 problem\n  metrics: got 3" in err


@pytest.mark.parametrize(
    ("trained", "launch", "starts"),
    [("", "", False), ("2", "", True), ("1", "", True), ("", f"{OF_CONTROLLER}7", True)],
    ids=["begins", "complete", "resumes", "a requeued controller"],
)
def test_snakemake_begins_no_training_with_a_mistake_in_it_and_stops_none(
    tmp_path, monkeypatch, trained, launch, starts
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(LAUNCH_VARIABLE, launch)
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    if trained:
        disk.train()
        disk.checkpoint.rename(disk.checkpoint.with_name(f"epoch_{trained}.pth"))
    if trained == "1":
        disk.change(end="killed", final_checkpoint=None, signature=None)
    plain = {**disk.config().model_dump(mode="json", exclude_unset=True), "knowledge": ["own.yaml"]}
    Path("config.yaml").write_text(yaml.safe_dump(plain))
    Path("own.yaml").write_text("metrics: 3")
    config = dag.load(plain, ["config.yaml"])  # each job does so, and `snakemake --unlock`
    workflow = about_to_start(disk, "submitit", {})
    dag.Plans(config, ["config.yaml"]).hook_into(workflow)
    with (
        nullcontext()
        if starts
        else pytest.raises(SystemExit, match=r"own\.yaml: 1 problem\n  metrics: got 3")
    ):
        workflow._onstart(None)


def test_every_file_with_a_mistake_is_named_at_once(typed, capsys):
    plain = yaml.safe_load(Path("config.yaml").read_text())
    Path("config.yaml").write_text(yaml.safe_dump({**plain, "knowledge": ["own.yaml", "gone.yaml"]}))
    assert typed("plan", own="metrics: 3") == 2
    err = capsys.readouterr().err
    assert "own.yaml: 1 problem\n  metrics: got 3" in err
    assert "gone.yaml: 1 problem\n  not found" in err


def test_a_config_without_files_knows_none_of_the_config_before(typed):
    assert typed("explain", "left_part") == 0
    config = load_config(Path("config.yaml"))
    assert best_for(["left_part"]).name == "my network"
    use_knowledge(config.model_copy(update={"knowledge": ()}))
    assert best_for(["left_part"]) == Knowledge()


def test_a_file_that_is_spoilt_while_a_stage_trains_is_left_out_of_its_analysis(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    (tmp_path / "own.yaml").write_text("metrics: 3")
    config = disk.config().model_copy(update={"knowledge": ("own.yaml", "gone.yaml")})
    assert analyze_stage(StageContext(config, "r", "s")).verdict.kind != "not judged"
    analyze_stage(StageContext(config, "r", "s"))
    write_reports(config, "r")
    said = capsys.readouterr().err
    assert said.count("judged without it: ") == 2, "once in a process"
    assert "judged without it: own.yaml: 1 problem\n  metrics: got 3" in said
    assert "judged without it: gone.yaml: 1 problem\n  not found" in said


PARTS = """
total: sum of losses
metrics:
  - {pattern: '(?:left|right)_part', group: Mine, label: a part}
  - {pattern: quality, group: Mine, label: a score, direction: up}
  - {pattern: weight_norm, group: Mine, label: a length, direction: null, loss: false}
"""


def test_the_sum_is_of_what_it_calls_losses_whatever_their_names(typed, capsys):
    table("left_part", "right_part", "quality", "weight_norm", "val_acc")
    assert typed("analyze", "log.csv", "--json", "--series", own=PARTS) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"] == "sum of losses"
    curves = found["curves"]["train"]
    one, total = (dict(map(tuple, curves[name])) for name in ("left_part", "sum of losses"))
    assert total == {step: pytest.approx(2 * value) for step, value in one.items()}


FIELDS = """
formats: [{}]
progress: [{{key: weight_norm, name: weight_norm, words: [length], text: how long the weights are}}]
"""


def test_fields_of_lines_that_only_it_knows_are_explained(typed, capsys):
    write_mmcv_log(Path("train.log"), stage=2)
    Path("train.log").write_text(
        Path("train.log").read_text().replace(", loss:", ", weight_norm: 7.5, loss:")
    )
    assert typed("explain", "train.log", own=FIELDS.format("mmcv-text")) == 0
    said = capsys.readouterr().out
    assert "how long the weights are" in said
    assert "grad_norm" in said, "the packaged fields of the format are there, too"


def test_it_may_describe_a_format_of_which_the_package_knows_no_fields(typed, capsys):
    table("loss", "weight_norm", "acc")
    assert typed("explain", "log.csv", own="name: none") == 0
    assert "What its fields mean is not known here" in capsys.readouterr().out
    assert typed("explain", "log.csv", own=FIELDS.format("rows")) == 0
    assert "how long the weights are" in capsys.readouterr().out


def test_a_pattern_that_takes_too_long_on_a_name_is_left_out_and_named(typed, capsys):
    table("loss", *("a" * 60 + f"_{at}" for at in range(5)))
    begun_s = time.process_time()
    assert (
        typed("analyze", "log.csv", "--json", own="metrics: [{pattern: '(a|aa)+[xy]', group: b, label: c}]")
        == 0
    )
    assert time.process_time() - begun_s < 20
    found = json.loads(capsys.readouterr().out)["findings"]
    assert ["(a|aa)+[xy]" in one["message"] for one in found if one["check"] == "slow-patterns"] == [True]
