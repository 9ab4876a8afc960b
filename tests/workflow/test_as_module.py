"""The workflow as a module of your Snakefile, as snakedeploy uses it, and included beside your own rules."""

from __future__ import annotations

import json

import pytest
import yaml

from support.project import REPOSITORY, Project

pytestmark = [pytest.mark.process, pytest.mark.slow]

MODULE = f"""
module relay:
    snakefile: "{REPOSITORY}/workflow/Snakefile"
    config: config

use rule * from relay
"""
RENAMED = MODULE.replace("from relay", "from relay as tr_*")
INCLUDED = f"""
include: "{REPOSITORY}/workflow/Snakefile"
"""
OWN_START = """
onstart:
    print("an onstart of mine")
"""


MARK = """
rule mark:
    output: "mark"
    shell: "touch {output}"
"""


def snakefile(project: Project, text: str) -> None:
    (project.folder / "Snakefile").write_text('configfile: "config.yaml"\n' + text)


def spoil_the_second_stage(project: Project) -> None:
    """Its work dir holds a checkpoint that trainrelay did not write; the first one could train."""
    work_dir = project.folder / "workflow/demo/driving/work_dirs/e2e"
    work_dir.mkdir(parents=True)
    (work_dir / "epoch_1.pth").write_bytes(b"mine")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        pytest.param(MODULE, "all", marks=pytest.mark.long),
        (RENAMED, "tr_all"),
        pytest.param(INCLUDED, "all", marks=pytest.mark.long),
        (MODULE + OWN_START, "all"),
        (INCLUDED + OWN_START, "all"),
    ],
    ids=["a module", "with other names", "included", "a module and an onstart", "included and an onstart"],
)
def test_what_is_refused_stops_all_before_the_first_training(fresh: Project, text: str, target: str) -> None:
    """Whatever its rules are called, and whether that Snakefile has an onstart, too."""
    snakefile(fresh, text)
    spoil_the_second_stage(fresh)
    done = fresh.snakemake("-j2", target)
    assert done.returncode == 1
    assert "trainrelay: nothing was started.\ndriving/stage2: " in done.stderr
    assert fresh.attempts() == {}


def test_an_onstart_beside_it_runs_where_nothing_is_refused(fresh: Project) -> None:
    snakefile(fresh, MODULE + OWN_START + MARK)
    assert "an onstart of mine" in fresh.succeed("mark")
    assert (fresh.folder / "mark").exists()


@pytest.mark.parametrize(
    "line", ['prefix: "sub"', pytest.param('replace_prefix: {"runs/": "others/"}', marks=pytest.mark.long)]
)
def test_another_place_for_its_files_is_refused_at_once(fresh: Project, line: str) -> None:
    """Each training would end with files where Snakemake does not look for them."""
    snakefile(fresh, MODULE.replace("    config: config\n", f"    config: config\n    {line}\n"))
    done = fresh.snakemake("-n", "all")
    assert done.returncode == 1
    assert "set out: in its config" in done.stderr


def test_two_of_them_in_one_snakefile_are_refused(fresh: Project) -> None:
    """A job of a cluster is told of one config."""
    other = MODULE.replace("module relay", "module other").replace("from relay", "from other")
    other = other.replace("config: config", "config: {**config, 'out': 'others'}")
    snakefile(fresh, RENAMED + other)
    done = fresh.snakemake("-n", "all")
    assert done.returncode == 1
    assert "runs of both into one config" in done.stderr


def test_the_verbs_for_what_runs_know_a_config_that_is_part_of_another(fresh: Project) -> None:
    """That of the module, as Snakemake merged it: no file has it. Other verbs read config.yaml."""
    data = {"mine": 1, "training": yaml.safe_load((fresh.folder / "config.yaml").read_text())}
    (fresh.folder / "config.yaml").write_text(yaml.safe_dump(data))
    snakefile(fresh, MODULE.replace("config: config", 'config: config["training"]') + MARK)
    fresh.succeed("-n", "mark")
    assert fresh.trainrelay("watch", "--json").returncode == 2
    fresh.succeed("mark")
    watched = fresh.trainrelay("watch", "--json")
    assert watched.returncode == 0, watched.stderr
    assert "the config of the last snakemake here: .snakemake/trainrelay/config-" in watched.stderr
    assert [row["stage"] for row in json.loads(watched.stdout)["stages"]] == ["stage1", "stage2"]
    assert fresh.trainrelay("plan").returncode == 2
