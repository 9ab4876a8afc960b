"""YAML files of yours that say what metrics mean: `knowledge` in the config."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.mmcv_logs import write_mmcv_log
from support.stage_on_disk import OnDisk
from trainrelay.analysis import learn
from trainrelay.cli import main

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
        (None, "not found; see docs/judgement.md"),
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
def test_check_tells_of_a_mistake_in_it(typed, capsys):
    assert typed("check", own="metrics: 3") == 2
    assert "fix   own.yaml: metrics: got 3" in capsys.readouterr().out
