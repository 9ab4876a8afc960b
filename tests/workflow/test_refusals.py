"""What a person can get wrong: one clear message each that says what to type, exit 2, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from support.project import CONFIG, Project

pytestmark = pytest.mark.xdist_group("trained")


def refused(done: subprocess.CompletedProcess[str], *words: str) -> str:
    """The message of a refusal: exit 2, no traceback, all the words."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    return done.stderr


def settings(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> str:
    data = yaml.safe_load(yaml.safe_dump(CONFIG))
    run = data["runs"]["driving"]
    change(run, run["stages"])
    return yaml.safe_dump(data)


WRONG_CONFIGS = {
    "an unknown key": (
        lambda r, s: r["trainer"].update(entrry="x"),
        "entrry: unknown key; did you mean entry?",
    ),
    "a wrong type": (
        lambda r, s: s["stage1"].update(epochs="two"),
        "epochs: got 'two'; expected a whole number",
    ),
    "a missing init_from": (lambda r, s: s["stage2"].update(init_from="stage0"), "no stage of this run"),
    "a cycle": (lambda r, s: s["stage1"].update(init_from="stage2"), "a cycle: stage1 -> stage2 -> stage1"),
    "two stages with one target": (
        lambda r, s: s["stage2"].update(promotion={"target": "ckpts/track_map.pth"}),
        "give each stage its own",
    ),
    "a stage name with ;": (lambda r, s: s.update({"a;b": s["stage1"]}), "a;b: not allowed as a name"),
}


PLAYED = ("an unknown key", "a cycle")
"""What `make test` plays; `make test-long` plays each."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in PLAYED else [pytest.mark.long]) for name in WRONG_CONFIGS]
)
def test_a_wrong_config_is_refused_by_both_commands(fresh: Project, name: str) -> None:
    change, words = WRONG_CONFIGS[name]
    (fresh.folder / "config.yaml").write_text(settings(change))
    refused(fresh.trainrelay("plan"), "config.yaml", words)
    workflow = fresh.snakemake("-n")
    assert workflow.returncode == 1
    assert words in workflow.stderr
    assert 'File "' not in workflow.stdout + workflow.stderr


def test_an_alias_bomb_is_refused_before_snakemake_reads_it(fresh: Project) -> None:
    """It would build all of it."""
    ten_times = (f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12))
    (fresh.folder / "config.yaml").write_text("a0: &a0 {k: 1}\n" + "".join(ten_times))
    workflow = fresh.snakemake("-n")
    assert workflow.returncode == 1
    assert "more than a config may hold" in workflow.stderr
    assert 'File "' not in workflow.stdout + workflow.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("runs:\n\ta: 1\n", "line 2, column 1: a tab; YAML indents with spaces"),
        ("runs:\n  a: 1\n b: 2\n", "line 3, column 2: expected <block end>"),
    ],
)
def test_snakemake_names_the_line_of_a_mistake_too(fresh: Project, text: str, words: str) -> None:
    (fresh.folder / "config.yaml").write_text(text)
    workflow = fresh.snakemake("-n")
    assert workflow.returncode == 1
    assert f"trainrelay: config.yaml: 1 problem\n  {words}" in workflow.stderr
    assert 'File "' not in workflow.stdout + workflow.stderr


def test_a_run_name_with_a_slash_is_refused(fresh: Project) -> None:
    (fresh.folder / "config.yaml").write_text(yaml.safe_dump({"runs": {"a/b": CONFIG["runs"]["driving"]}}))
    refused(fresh.trainrelay("plan"), "runs.a/b: not allowed as a name")


def test_a_missing_checkout_is_named_with_the_key_to_set(fresh: Project) -> None:
    fresh.configure(lambda data: data["runs"]["driving"]["trainer"].update(root="no/such"))
    refused(fresh.trainrelay("train", "driving/stage1"), "no/such does not exist", "trainer.root")
    assert not (fresh.folder / "runs").exists()


def test_a_missing_interpreter_is_named(fresh: Project) -> None:
    fresh.configure(lambda data: data["runs"]["driving"]["trainer"].update(interpreter="/opt/none/python"))
    refused(fresh.trainrelay("train", "driving/stage1"), "/opt/none/python", "trainer.interpreter")


def test_snakemake_adds_the_job_and_its_log_to_our_sentence_and_not_the_command_again(fresh: Project) -> None:
    fresh.configure(lambda data: data["runs"]["driving"]["trainer"].update(interpreter="/opt/none/python"))
    workflow = fresh.snakemake("--until", "train_stage1")
    assert workflow.returncode == 1
    after = workflow.stderr.partition("trainrelay: driving/stage1: the interpreter /opt/none/python")[2]
    assert "Error in rule train_stage1" in after
    assert "log: runs/driving/stage1/train.log" in after
    assert after.count("-m trainrelay train") == 1
    assert "RuleException" not in workflow.stderr


def test_a_missing_initial_checkpoint_is_named(fresh: Project) -> None:
    refused(fresh.trainrelay("train", "driving/stage2"), "ckpts/track_map.pth does not exist")


def test_an_unknown_stage_lists_the_known_ones(fresh: Project) -> None:
    refused(fresh.trainrelay("train", "driving/stage3"), "driving/stage3", "driving/stage1, driving/stage2")


def test_promoting_before_training_says_what_to_type(fresh: Project) -> None:
    refused(fresh.trainrelay("promote", "driving/stage1"), "train.json is missing", "snakemake")


def source(project: Project) -> Path:
    return project.stage("stage1") / "work_dir/epoch_2.pth"


def promoted(project: Project) -> Path:
    return project.folder / "workflow/demo/driving/ckpts/track_map.pth"


def without_target(project: Project) -> None:
    promoted(project).unlink()


class Payload:
    """Runs a command wherever it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


def malicious(path: Path, mark: Path) -> None:
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "meta": {**saved["meta"], "hook": Payload(mark)}}, path)


def poisoned(path: Path) -> None:
    saved = torch.load(path, weights_only=True)
    next(iter(saved["state_dict"].values())).fill_(float("nan"))
    torch.save(saved, path)


def test_a_missing_checkpoint_is_not_promoted(trained: Project) -> None:
    without_target(trained)
    source(trained).unlink()
    refused(trained.trainrelay("promote", "driving/stage1"), "epoch_2.pth is gone")
    assert not promoted(trained).exists()


@pytest.mark.parametrize(
    "damage", ["malicious", *(pytest.param(one, marks=pytest.mark.long) for one in ("truncated", "nan"))]
)
def test_a_checkpoint_that_changed_since_its_training_is_not_promoted(
    trained: Project, tmp_path: Path, damage: str
) -> None:
    without_target(trained)
    path, mark = source(trained), tmp_path / "ran"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "nan":
        poisoned(path)
    else:
        malicious(path, mark)
    refused(
        trained.trainrelay("promote", "driving/stage1"), "epoch_2.pth", "sha256", "changed since its training"
    )
    assert not promoted(trained).exists()
    assert not mark.exists()


def reopened(project: Project, epochs: int) -> Path:
    """Stage 1 asked for more epochs; returns the newest checkpoint, from which it would resume."""
    project.configure(lambda data: data["runs"]["driving"]["stages"]["stage1"].update(epochs=epochs))
    return source(project)


def test_a_resume_never_runs_code_from_a_checkpoint(trained: Project, tmp_path: Path) -> None:
    """The newest checkpoint is malicious: it is skipped by name, and the one before it is resumed from."""
    path = reopened(trained, 3)
    malicious(path, tmp_path / "ran")
    done = trained.trainrelay("train", "driving/stage1")
    assert done.returncode == 0, done.stderr
    assert "epoch_2.pth" in done.stderr
    assert "posix.system" in done.stderr
    assert "resumes after epoch 1" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_resume_with_no_sound_checkpoint_does_not_start_over_in_silence(trained: Project) -> None:
    path = reopened(trained, 3)
    poisoned(path)
    (path.parent / "epoch_1.pth").write_bytes(b"")
    refused(trained.trainrelay("train", "driving/stage1"), "epoch_2.pth", "not finite", "epoch_1.pth")
    assert trained.attempts()["stage1"] == 1


def test_a_target_that_we_did_not_write_is_not_overwritten(fresh: Project, trained: Project) -> None:
    promoted(trained).write_bytes(b"somebody's weights")
    refused(
        trained.trainrelay("promote", "driving/stage1"), "was not written by trainrelay", "overwrite: true"
    )
    assert promoted(trained).read_bytes() == b"somebody's weights"

    def overwrite(data: dict[str, Any]) -> None:
        data["runs"]["driving"]["stages"]["stage1"]["promotion"]["overwrite"] = True

    trained.configure(overwrite)
    assert trained.trainrelay("promote", "driving/stage1").returncode == 0
    assert promoted(trained).with_name("track_map.pth.previous").read_bytes() == b"somebody's weights"
    assert promoted(trained).read_bytes() == source(trained).read_bytes()


def test_an_initial_checkpoint_other_than_the_promoted_one_is_not_trained_from(trained: Project) -> None:
    trained.configure(lambda data: data["runs"]["driving"]["stages"]["stage2"].update(epochs=3))
    poisoned(promoted(trained))
    refused(
        trained.trainrelay("train", "driving/stage2"),
        "is not what stage1 promoted",
        "snakemake --profile local --forcerun runs/driving/stage1/checkpoint.json",
    )


def diverging_log(project: Project) -> None:
    """Rewrites stage 1's log so that its loss is NaN from some step on."""
    log = project.stage("stage1") / "attempts/001/trainer.log"
    lines = log.read_text().splitlines(keepends=True)
    steps = [n for n, line in enumerate(lines) if "Epoch [2]" in line]
    for number in steps:
        head, _, tail = lines[number].rpartition(", loss: ")
        lines[number] = f"{head}, loss: nan, {tail.split(', ', 1)[1]}"
    log.write_text("".join(lines))


def test_a_blocking_finding_closes_the_gate_until_a_person_accepts_it(trained: Project) -> None:
    diverging_log(trained)
    before = promoted(trained).read_bytes()
    message = refused(
        trained.trainrelay("promote", "driving/stage1"), "epoch_2.pth is not promoted", "non-finite"
    )
    assert 'trainrelay accept driving/stage1 --reason "..."' in message

    accepted = trained.trainrelay("accept", "driving/stage1", "--reason", "a logging error, checked by hand")
    assert accepted.returncode == 0, accepted.stderr
    assert trained.trainrelay("promote", "driving/stage1").returncode == 0
    assert promoted(trained).read_bytes() == before
    record = json.loads((trained.stage("stage1") / "checkpoint.json").read_text())
    assert record["accepted"] == "a logging error, checked by hand"
    trained.succeed()
    assert "a logging error, checked by hand" in (trained.folder / "runs/driving/report.html").read_text()


def test_an_open_gate_promotes_and_says_so(trained: Project) -> None:
    diverging_log(trained)
    trained.configure(lambda data: data["runs"]["driving"]["stages"]["stage1"].update(gate=False))
    assert trained.trainrelay("promote", "driving/stage1").returncode == 0
    assert json.loads((trained.stage("stage1") / "checkpoint.json").read_text())["accepted"] == "gate: off"


def test_accepting_needs_a_reason_and_something_to_accept(fresh: Project) -> None:
    assert fresh.trainrelay("accept", "driving/stage1").returncode == 2
    refused(fresh.trainrelay("accept", "driving/stage1", "--reason", " "), "give a reason")
    refused(fresh.trainrelay("accept", "driving/stage1", "--reason", "x"), "no valid checkpoint")
    refused(
        fresh.trainrelay("accept", "driving/stage1", "--retrain", "--reason", "x"),
        "nothing would be archived",
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.log", b"", "empty.log"),
        ("binary.log", b"\x00\x01\x02" * 99, "binary.log"),
        ("other.log", b"hello\n", "other.log"),
        (None, b"", "missing.log"),
    ],
)
def test_a_log_that_is_none_is_refused_with_the_formats_we_read(
    fresh: Project, name: str | None, content: bytes, words: str
) -> None:
    if name is not None:
        (fresh.folder / name).write_bytes(content)
    refused(fresh.trainrelay("analyze", name or "missing.log"), words)


def test_a_damaged_file_of_ours_is_named(trained: Project) -> None:
    (trained.stage("stage1") / "stage.json").write_text("{")
    refused(trained.trainrelay("train", "driving/stage1"), "stage1/stage.json")
    workflow = trained.snakemake("-n")
    assert workflow.returncode == 1
    assert "stage1/stage.json" in workflow.stderr
    assert 'File "' not in workflow.stdout + workflow.stderr


def test_a_bug_of_ours_keeps_its_traceback_and_exits_1(fresh: Project) -> None:
    broken = "import trainrelay.training.plan as p; p.plan = None; import sys; sys.argv[1:] = ['plan']; "
    done = fresh.run_code(broken + "from trainrelay.cli import main; sys.exit(main())")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_restored_training_that_the_config_does_not_ask_for_is_not_nothing_to_be_done(
    trained: Project,
) -> None:
    """Snakemake is told what to run, and after that promotes what it had promoted before."""
    stage, before = trained.stage("stage1"), promoted(trained).read_bytes()
    other = stage.with_name("stage1.old-1")
    shutil.copytree(stage, other)
    for file, ours, theirs in (
        (other / "stage.json", "0.001", "0.1"),
        (other / "stage.json", owner_of(stage), "f" * 32),
        (other / "work_dir/owner.json", owner_of(stage), "f" * 32),
    ):
        assert ours in file.read_text()
        file.write_text(file.read_text().replace(ours, theirs))
    restored = trained.trainrelay("restore", "driving/stage1", "1")
    assert "not the training that the config asks for now" in restored.stderr
    stopped = trained.snakemake("--until", "promote_stage1")
    assert stopped.returncode == 1
    assert "run: trainrelay restore driving/stage1 2\n" in stopped.stderr
    assert trained.trainrelay("restore", "driving/stage1", "2").returncode == 0
    trained.succeed("--until", "promote_stage1")
    assert promoted(trained).read_bytes() == before
    assert trained.attempts()["stage1"] == 1


def owner_of(stage: Path) -> str:
    return str(json.loads((stage / "stage.json").read_text())["owner"])
