"""`trainrelay init`, `help` and `--version`, without an installation: what the files say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from trainrelay import __version__
from trainrelay.cli import main
from trainrelay.config import load_config, load_site
from trainrelay.config.site import Site
from trainrelay.packaged import ROOT, templates

PAGES = {"keypoints": "metriclogger.md", "mmengine": "mmengine.md", "script": "my_own_script.md"}


@pytest.mark.parametrize("name", templates())
def test_each_template_is_a_commented_config(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine", "--from", name]) == 0
    monkeypatch.chdir(tmp_path / "mine")
    assert load_config(Path("config.yaml")) == load_config(templates()[name])
    text = Path("config.yaml").read_text()
    assert text.startswith("# trainrelay's configuration")
    assert text.count("#") > 10
    assert "docs/" not in text  # no such folder is here
    assert Path("slurm/config.yaml").read_bytes() == (ROOT / "profiles/slurm/config.yaml").read_bytes()
    assert "mine/Snakefile\n" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "page"), PAGES.items())
def test_a_template_is_what_its_page_shows(name: str, page: str) -> None:
    shown = re.search(r"^```yaml\n(runs:.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)
    assert shown
    assert yaml.safe_load(shown[1]) == yaml.safe_load(templates()[name].read_text())


def test_no_value_of_the_example_site_counts_until_you_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert load_site(tmp_path / "site.yaml") == Site()
    example = (ROOT / "site.example.yaml").read_text().splitlines()
    written = (tmp_path / "site.yaml").read_text().splitlines()
    assert [line.removeprefix("# ") for line in written] == [line.removeprefix("# ") for line in example]


@pytest.mark.parametrize("there", ["Snakefile", "site.yaml", "profiles/local/config.yaml"])
def test_it_writes_over_nothing_and_names_what_is_there(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(there).parent.mkdir(parents=True, exist_ok=True)
    Path(there).symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    assert main(["init"]) == 2
    said = capsys.readouterr().err
    assert there in said
    assert "set root" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_has_the_name_of_a_profile_stays_and_the_profile_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `slurm/`, where a repository has its sbatch scripts."""
    monkeypatch.chdir(tmp_path)
    Path("slurm").mkdir()
    Path("slurm/one.sh").write_text("#SBATCH\n")
    assert main(["init"]) == 0
    said = capsys.readouterr().out
    assert "slurm was there and stays as it is; use --profile profiles/slurm\n" in said
    assert [path.name for path in Path("slurm").iterdir()] == ["one.sh"]
    assert Path("profiles/slurm/config.yaml").is_file()
    assert Path("local/config.yaml").is_file()


def test_a_folder_that_cannot_be_one_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["init", str(tmp_path / "file/mine")]) == 2
    assert "cannot write into" in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    assert "VERB" in capsys.readouterr().out
    assert main(["help", "stop"]) == 0
    assert "usage: trainrelay stop" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"trainrelay {__version__}\n"
