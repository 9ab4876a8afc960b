"""What a training asks of Slurm, with and without a site file."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainrelay.config import Resources, Site, load_site
from trainrelay.errors import ConfigError
from trainrelay.slurm.flags import sbatch_flags, slurm_resources

UNIAD = Resources(gpu=8, gpu_model="a40", cpus_per_gpu=5, mem_gb=240.0, runtime_min=10080)


@pytest.mark.parametrize(
    ("dialect", "wanted"),
    [
        ("gres", ["--gres=gpu:a40:8"]),
        ("gpus-per-node", ["--gpus-per-node=a40:8"]),
        ("gres-constraint", ["--gres=gpu:8", "--constraint=a40"]),
    ],
)
def test_gpus_are_asked_for_as_the_site_says(dialect: str, wanted: list[str]) -> None:
    flags = sbatch_flags(UNIAD, Site.model_validate({"gpu_dialect": dialect}), 40)
    assert [flag for flag in flags if "gpu" in flag or "constraint" in flag] == wanted
    assert "--cpus-per-task=40" in flags
    assert "--mem=240000M" in flags
    assert "--time=10080" in flags


def test_a_stages_own_words_go_before_the_sites() -> None:
    site = Site(partition="all", account="a", mail_user="me@example.org", sbatch=("--nice=5",))
    own = UNIAD.model_copy(update={"partition": "big"})
    assert slurm_resources(own, site) == {
        "nodes": 1,
        "gpu": 8,
        "gpu_model": "a40",
        "mem_mb": 240000,
        "runtime": 10080,
        "slurm_partition": "big",
        "slurm_account": "a",
        "gpu_dialect": "gres",
        "slurm_extra": "--mail-user=me@example.org --mail-type=FAIL --nice=5",
    }


def test_without_a_site_file_nothing_is_said(tmp_path: Path) -> None:
    assert load_site(tmp_path / "site.yaml") == Site()


def test_the_example_is_a_valid_site_file_with_every_key(tmp_path: Path) -> None:
    example = Path(__file__).resolve().parents[3] / "site.example.yaml"
    site = load_site(example)
    assert site.setup == ("module load cuda/11.8",)
    assert all(f"\n{key}:" in example.read_text() for key in Site.model_fields)


def test_a_mistake_names_its_place_and_what_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("acount: x\ngpu_dialect: typo\n")
    with pytest.raises(ConfigError) as raised:
        load_site(path)
    assert raised.value.problems == [
        "gpu_dialect: got 'typo'; allowed: 'gres', 'gpus-per-node' or 'gres-constraint'",
        "acount: unknown key; did you mean account?",
    ]
