"""What a training asks of Slurm: the plan's flags are those that the executor plugin submits it with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakemake_executor_plugin_submitit.clusters import SlurmCluster
from snakemake_executor_plugin_submitit.command import Command
from snakemake_executor_plugin_submitit.extra import ELSEWHERE, NO_JOB, OURS
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_executor_plugin_submitit.settings import ExecutorSettings, checked
from snakemake_executor_plugin_submitit.submission import Submission
from trainrelay import slurm
from trainrelay.config import Resources, Site, load_site
from trainrelay.config.site import INSTEAD
from trainrelay.errors import ConfigError
from trainrelay.slurm.flags import slurm_resources

ROOT = Path(__file__).resolve().parents[3]
UNIAD = Resources(gpu=8, gpu_model="a40", cpus_per_gpu=5, mem_gb=240.0, runtime_min=10080)
# What names a job and its files, not what it asks for.
NAMES = {"job-name", "comment", "output", "open-mode"}


def flags_of(*asked: Any) -> tuple[str, ...]:
    return slurm.sbatch_flags(slurm.flags.request_of(*asked))


def submitted(resources: dict[str, Any], threads: int) -> set[str]:
    """The options in the script for sbatch, without those that name the job."""
    request = request_of(resources, threads)
    order = Submission("name", "digest", "", Command("true", "/w", "/f", "slurm"), request)
    script = SlurmCluster(checked(ExecutorSettings())).script(order)
    lines = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]
    words = [word for line in lines for word in shlex.split(line)]
    return {word for word in words if word[2:].partition("=")[0] not in NAMES}


name = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,9}", fullmatch=True)
maybe = st.none() | name
constraint = st.none() | st.sampled_from(["ib", "ib|roce", "ib&ssd", "[rack1|rack2]", "(a|b)&c", "x*2"])
count = st.integers(1, 64)
option = st.sampled_from(
    [
        "--exclusive",
        "--no-requeue",
        "--nice=5",
        "-w node7",
        "--reservation='the one'",
        "--mail-type=END",
        "-H",
    ]
)
sites = st.builds(
    Site,
    partition=maybe,
    account=maybe,
    qos=maybe,
    constraint=constraint,
    mail_user=st.none() | st.just("me@example.org"),
    gpu_dialect=st.sampled_from(["gres", "gpus-per-node", "gres-constraint"]),
    sbatch=st.lists(option, max_size=3).map(tuple),
    setup=st.lists(st.just("module load x"), max_size=2).map(tuple),
    warn_s=st.integers(10, 65535),
)
resources = st.builds(
    Resources,
    nodes=count,
    gpu=st.integers(0, 16),
    gpu_model=maybe,
    mem_gb=st.none() | st.just("all") | st.floats(1e-6, 4000, allow_nan=False),
    runtime_min=st.none() | st.integers(1, 100000),
    partition=maybe,
    account=maybe,
    qos=maybe,
    constraint=constraint,
)


@settings(max_examples=50, deadline=None)
@given(resources, sites, st.integers(1, 128), st.integers(1, 20))
def test_what_the_plan_shows_is_what_is_submitted(asked: Resources, site: Site, cpus: int, legs: int) -> None:
    assert not site.refused_options()
    assert set(flags_of(asked, site, cpus, legs)) == submitted(slurm_resources(asked, site, legs), cpus)


@pytest.mark.parametrize(
    ("dialect", "wanted"),
    [
        ("gres", ["--gres=gpu:a40:8", "--constraint=ib|roce"]),
        ("gpus-per-node", ["--gpus-per-node=a40:8", "--constraint=ib|roce"]),
        ("gres-constraint", ["--gres=gpu:8", "--constraint=(ib|roce)&a40"]),
    ],
)
def test_gpus_are_asked_for_as_the_site_says(dialect: str, wanted: list[str]) -> None:
    site = Site.model_validate({"gpu_dialect": dialect, "constraint": "ib|roce"})
    flags = flags_of(UNIAD, site, 40)
    assert [flag for flag in flags if "gpu" in flag or "constraint" in flag] == wanted
    assert "--cpus-per-task=40" in flags
    assert "--mem=240000M" in flags
    assert "--time=10080" in flags


@pytest.mark.parametrize(
    ("mem_gb", "wanted"), [("all", ["--mem=0"]), (0.0001, ["--mem=1M"]), (None, []), (1.5, ["--mem=1500M"])]
)
def test_memory_is_asked_for_and_all_of_a_nodes_too(mem_gb: Any, wanted: list[str]) -> None:
    """Never 0 by rounding: that is all of it."""
    flags = flags_of(Resources(mem_gb=mem_gb), Site(), 1)
    assert [flag for flag in flags if flag.startswith("--mem")] == wanted


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
        "slurm_signal_delay_s": 120,
    }


def test_nodes_that_are_left_out_are_joined_to_the_sites_own() -> None:
    """Of several options the last one counts, as for sbatch."""
    site = Site(sbatch=("-x gpu01", "--nice=5", "--exclude=gpu02"))
    for without, wanted in (
        (site.without(["gpu03", "gpu[07-08]"]), "--exclude=gpu02,gpu03,gpu[07-08]"),
        (Site().without(["gpu03"]), "--exclude=gpu03"),
        (site.without([]), "--exclude=gpu02"),
    ):
        assert [flag for flag in flags_of(UNIAD, without, 40) if "exclude" in flag] == [wanted]
    assert "--nice=5" in flags_of(UNIAD, site.without(["gpu03"]), 40)
    assert Site().without([]) == Site()


def test_without_a_site_file_nothing_is_said(tmp_path: Path) -> None:
    assert load_site(tmp_path / "site.yaml") == Site()


def test_the_example_is_a_valid_site_file_with_every_key(tmp_path: Path) -> None:
    example = ROOT / "site.example.yaml"
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


def test_what_no_line_of_a_job_script_may_hold_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text('constraint: "a\\u2028b"\n')
    with pytest.raises(ConfigError, match=r"constraint: "):
        load_site(path)


def test_an_option_that_a_job_cannot_be_given_is_refused_with_the_key_to_use(tmp_path: Path) -> None:
    """All of them at once, in the words of config.yaml and site.yaml."""
    path = tmp_path / "site.yaml"
    path.write_text("sbatch: [--mem=0, --time=2-0, --array=1-2, --output=x, -p gpu, --nice=5]\n")
    with pytest.raises(ConfigError) as raised:
        load_site(path)
    assert raised.value.problems == [
        "sbatch: --mem is set elsewhere: use mem_gb of the stage's resources;"
        " mem_gb: all is the whole node's",
        "sbatch: --time is set elsewhere: use runtime_min of the stage's resources",
        "sbatch: --array is set for each job: leave it out",
        "sbatch: --output is set for each job: leave it out",
        "sbatch: --partition is set elsewhere: use partition",
    ]
    path.write_text("sbatch: [--arr=0-1, --job-nam x, --test-only]\n")
    with pytest.raises(ConfigError) as raised:
        load_site(path)
    assert raised.value.problems == [
        "sbatch: --array is set for each job: leave it out",
        "sbatch: --job-name is set for each job: leave it out",
        "sbatch: --test-only submits no job: leave it out",
    ]
    # Neither goes with the cores, or the memory, that a stage asks for.
    path.write_text("sbatch: [--cpus-per-gpu=2, --mem-per-gpu=10G]\n")
    with pytest.raises(ConfigError) as raised:
        load_site(path)
    assert raised.value.problems == [
        "sbatch: --cpus-per-gpu is set elsewhere: use cpus_per_gpu of the stage's resources",
        "sbatch: --mem-per-gpu is set elsewhere: use mem_gb of the stage's resources",
    ]
    path.write_text("sbatch: [nonsense]\n")
    with pytest.raises(ConfigError, match="sbatch: nonsense is not an option of sbatch"):
        load_site(path)


def test_every_option_that_the_plugin_refuses_has_its_key_here() -> None:
    assert INSTEAD.keys() >= ELSEWHERE.keys()
    assert not INSTEAD.keys() & (OURS | NO_JOB)
