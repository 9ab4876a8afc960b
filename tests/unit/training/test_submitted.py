"""A job trains what was submitted, or says why not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.toy_project import ToyProject, make_checkout
from trainrelay import cli, dag
from trainrelay.config import SITE_VARIABLE, Site, load_config, load_site, save_snapshot
from trainrelay.errors import Refusal
from trainrelay.system.hints import TYPED_VARIABLE
from trainrelay.training import submitted
from trainrelay.training.context import StageContext
from trainrelay.training.submitted import SUBMITTED_VARIABLE


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyProject:
    """A project of which nothing was submitted yet."""
    for variable in (SITE_VARIABLE, SUBMITTED_VARIABLE, TYPED_VARIABLE):
        monkeypatch.setenv(variable, "")  # put back at the end
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return ToyProject(make_checkout(tmp_path, monkeypatch, 0.1, 0.2), tmp_path / "out")


def submit(toy: ToyProject, **stage: Any) -> Path:
    """As the Snakefile does; the file of what was submitted."""
    dag.Plans(toy.config(**stage), []).submit()
    return Path(f".snakemake/trainrelay/submitted-{os.environ[SUBMITTED_VARIABLE]}.json")


def edit(toy: ToyProject, text: str) -> None:
    (toy.checkout / "a.py").write_text(text)


def test_a_job_has_the_config_that_was_submitted(toy: ToyProject) -> None:
    """Options in their order, and Snakemake's own config with it."""
    options = {"z": 1e-06, "a": [1, "b"], "optimizer.lr": 3e22}
    submit(toy, options=options)
    snakemakes: dict[str, Any] = {}
    config = dag.submitted(snakemakes)
    assert config == toy.config(options=options)
    assert list(config.stage("r", "s").options) == list(options)
    assert snakemakes["runs"]["r"]["stages"]["s"]["options"] == options


def test_what_is_submitted_twice_is_one_file_and_another_config_another(toy: ToyProject) -> None:
    first = submit(toy)
    assert first.stat().st_mode & 0o777 == 0o600
    before = first.stat().st_mtime_ns
    assert submit(toy) == first
    assert first.stat().st_mtime_ns == before
    assert submit(toy, seed=7) != first
    assert first.exists()


def test_a_job_knows_the_config_as_it_was_typed(toy: ToyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where Slurm passes nothing of the controller's environment."""
    monkeypatch.setenv(TYPED_VARIABLE, "it's $HOME.yaml")
    submit(toy)
    monkeypatch.delenv(TYPED_VARIABLE)
    dag.submitted({})
    assert os.environ[TYPED_VARIABLE] == "it's $HOME.yaml"


def test_a_job_has_the_site_that_was_submitted(toy: ToyProject) -> None:
    """Also one that starts while site.yaml is half saved, and the controller that made it meanwhile."""
    file = Path("site.yaml")
    file.write_text("partition: gpu\nsbatch: [--nice=5]\nnodes_avoid_h: 0.5\n")
    before = load_site()
    submit(toy)
    file.write_text("partition: [gpu\nsba")
    assert load_site() == before
    assert dag.Plans(toy.config(), []).resources("s")["slurm_extra"](SimpleNamespace(run="r")) == "--nice=5"
    file.unlink()
    assert load_site() == before


def test_no_site_was_submitted_either(toy: ToyProject) -> None:
    submit(toy)
    Path("site.yaml").write_text("partition: later\n")
    assert load_site() == Site()


@pytest.mark.process
@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_a_job_without_what_was_submitted_refuses_in_one_sentence(
    toy: ToyProject, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = submit(toy)
    match damage:
        case "gone":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-9])
        case "other":
            path.write_text('{"rules": 2, "typed": null, "config": {}, "ingredients": {}}')
    with pytest.raises(SystemExit) as ended:
        dag.submitted({})
    sentence = (
        f"{path}, which says what this job was submitted for, is missing or damaged, so nothing is started;"
        " run: snakemake"
    )
    assert ended.value.code == f"trainrelay: {sentence}"
    configfile = str(save_snapshot(toy.config()))
    assert cli.main(["train", "r/s", "--configfile", configfile]) == 2
    assert capsys.readouterr().err == f"trainrelay: {sentence}\n"
    submit(toy)  # the next controller writes it again
    dag.submitted({})


def test_a_job_that_was_told_nothing_refuses(toy: ToyProject) -> None:
    with pytest.raises(SystemExit) as ended:
        dag.submitted({})
    assert "this job was not told what was submitted" in str(ended.value.code)


@pytest.mark.process
def test_a_job_trains_what_was_submitted(toy: ToyProject) -> None:
    submit(toy)
    edit(toy, "optimizer = dict(lr=0.1)  # spelled in another way\n")
    toy.train()
    assert toy.paths().train.exists()


def files(toy: ToyProject) -> list[Path]:
    """All but the pages, which tell of a start that was refused."""
    return sorted(path for path in toy.out.rglob("*") if path.suffix != ".html")


@pytest.mark.process
def test_a_checkout_that_changed_since_trains_nothing_and_archives_nothing(
    toy: ToyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(toy)
    toy.train()
    trained = files(toy)
    edit(toy, "optimizer = dict(lr=0.2)\n")
    capsys.readouterr()
    assert cli.main(["train", "r/s", "--configfile", str(save_snapshot(toy.config()))]) == 2
    said = capsys.readouterr().err
    assert "since this was submitted, so nothing is trained (config: optimizer.lr: 0.1 -> 0.2)" in said
    assert "run snakemake again" in said
    assert files(toy) == trained
    submit(toy)
    toy.train()
    assert (toy.out / "r/s.old-1").is_dir()


@pytest.mark.process
@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ("refuse", 2, "since this was submitted, so nothing is trained (the trainer's code: "),
        ("warn", 0, "warning: r/s: the trainer's code was "),
    ],
)
def test_code_that_changed_while_a_first_start_waited_is_refused_or_told(
    toy: ToyProject, capsys: pytest.CaptureFixture[str], how: str, status: int, words: str
) -> None:
    """A `git pull` that changes no ingredient; no attempt tells which code there was."""
    who = ("-c", "user.name=a", "-c", "user.email=a")
    for words_ in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "a")):
        subprocess.run(["git", "-C", toy.checkout, *words_], check=True)
    config = toy.config().model_copy(update={"on_code_change": how})
    dag.Plans(config, []).submit()
    (toy.checkout / "tools/train.py").write_text("print()\n")
    assert cli.main(["train", "r/s", "--configfile", str(save_snapshot(config))]) == status
    said = capsys.readouterr().err
    assert words in said
    assert " with changes " in said
    assert toy.paths().train.exists() is (how == "warn")


def test_a_config_that_can_be_read_no_more_is_the_one_difference(toy: ToyProject) -> None:
    submit(toy)
    edit(toy, "optimizer = dict(lr=")
    with pytest.raises(Refusal, match=r"is trained \(trainer config not readable: \(absent\) -> [^;]*\)"):
        toy.train()


def test_a_config_that_only_the_node_can_read_is_no_difference(toy: ToyProject) -> None:
    text = (toy.checkout / "a.py").read_text()
    (toy.checkout / "a.py").unlink()
    submit(toy)
    edit(toy, text)
    at = StageContext(toy.config(), "r", "s")
    assert submitted.changed_since(at) == []
    other = StageContext(toy.config(seed=7), "r", "s")
    assert [one.key for one in submitted.changed_since(other)] == ["seed"]


def test_what_the_jobs_read_is_written_again_when_it_is_gone(toy: ToyProject) -> None:
    """A job that starts after .snakemake was removed has both; inside of a job nothing is submitted."""
    plans = dag.Plans(toy.config(), [])
    assert load_config(Path(plans.config_file())) == toy.config()
    assert SUBMITTED_VARIABLE not in os.environ
    plans.submit()
    before = os.environ[SUBMITTED_VARIABLE]
    shutil.rmtree(".snakemake")
    assert load_config(Path(plans.config_file())) == toy.config()
    assert dag.submitted({}) == toy.config()
    assert os.environ[SUBMITTED_VARIABLE] == before


def test_a_damaged_snapshot_is_written_again(toy: ToyProject) -> None:
    path = save_snapshot(toy.config())
    path.write_bytes(path.read_bytes()[:40])
    assert load_config(save_snapshot(toy.config())) == toy.config()
