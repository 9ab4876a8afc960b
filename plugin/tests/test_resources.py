"""From a job's resources to sbatch's options."""

from __future__ import annotations

from typing import Any

import pytest

from snakemake_executor_plugin_submitit.errors import RequestError
from snakemake_executor_plugin_submitit.extra import extra_options
from snakemake_executor_plugin_submitit.resources import (
    delay_within,
    request_of,
    sbatch_flags,
)

EIGHT: dict[str, Any] = {"gpu": 8, "gpu_model": "a40"}


def options(dialect: str = "gres", **resources: Any) -> dict[str, str | bool]:
    """Without those of every job."""
    flags = sbatch_flags(request_of(resources, threads=4), dialect)  # type: ignore[arg-type]
    assert flags[:4] == ("--nodes=1", "--ntasks-per-node=1", "--cpus-per-task=4", "--signal=USR2@120")
    split = (flag[2:].partition("=") for flag in flags[4:])
    return {name: value if equals else True for name, equals, value in split}


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("gres", {"gres": "gpu:a40:8"}),
        ("gpus-per-node", {"gpus-per-node": "a40:8"}),
        ("gres-constraint", {"gres": "gpu:8", "constraint": "a40"}),
    ],
)
def test_each_dialect_asks_for_eight_a40s_per_node(dialect: str, expected: dict[str, str]) -> None:
    """Never --gpus, which Slurm may split over two nodes."""
    assert options(dialect, **EIGHT) == {**expected, "requeue": True}


def test_a_site_constraint_and_a_gpu_constraint_both_hold() -> None:
    """Alternatives are put in brackets before the GPU's name is added."""
    assert options("gres-constraint", **EIGHT, constraint="ib")["constraint"] == "ib&a40"
    assert options("gres-constraint", **EIGHT, constraint="ib|opa")["constraint"] == "(ib|opa)&a40"


def test_every_resource_becomes_its_option() -> None:
    """The names that Snakemake users know from the official executor."""
    given = options(
        **EIGHT, slurm_partition="p", slurm_account="a", qos="q", constraint="c", mem_mb=2000,
        slurm_extra="--mail-type=END --exclusive -w node7 --reservation 'the one'",
    )  # fmt: skip
    assert given == {
        "gres": "gpu:a40:8", "partition": "p", "account": "a", "qos": "q", "constraint": "c", "mem": "2000M",
        "requeue": True, "mail-type": "END", "exclusive": True, "nodelist": "node7", "reservation": "the one",
    }  # fmt: skip


def test_no_gpus_and_no_memory_ask_for_none() -> None:
    """A complete stage has gpu=0 and its gpu_model still: it must not queue for GPUs."""
    assert options(gpu=0, gpu_model="a40", slurm_partition="") == {"requeue": True}


def test_gres_is_passed_on_as_it_is() -> None:
    """What a user spelt out is what sbatch gets, in every dialect."""
    assert options("gpus-per-node", gres="gpu:a40:8,shard:2")["gres"] == "gpu:a40:8,shard:2"


def test_a_job_that_must_not_be_requeued_says_so_once() -> None:
    """--no-requeue in slurm_extra replaces our --requeue."""
    for spelt in ("--no-requeue", "--no-req", "--no-r"):
        assert options(slurm_extra=spelt) == {"no-requeue": True}
    assert options(slurm_extra="--no-k --no-") == {"requeue": True, "no-k": True, "no-": True}


@pytest.mark.parametrize(
    ("resources", "right"),
    [
        ({"gpus": 8}, "write gpu=8"),
        ({"gpus": 8, "gpu_model": "a40"}, "write gpu=8, gpu_model=a40"),
        ({"gpu_model": "a40"}, "write gpu=8, gpu_model=a40"),
        ({"gres": "gpu:8", "gpu_model": "a40"}, "write gpu=8, gpu_model=a40 alone"),
        ({"gres": "gpu:a40:8", "gpu": 8}, "write gpu=8, gpu_model=a40 alone"),
        ({"gres": "shard:2", "gpu": 8, "gpu_model": "a40"}, "gres=gpu:a40:8,shard:2"),
        ({"gres": "'gpu:a40:8'"}, "write it as gres=gpu:a40:8"),
        ({"gres": "gpu:a40:8", "tasks": 8}, "leave it out"),
        ({"gpu": "8"}, "gpu=8 is not a number"),
        ({"gpu": True}, "gpu=True is not a number"),
        ({"gpu": 1, "gpu_model": "a40:8"}, "gpu_model=a40"),
        ({"nodes": 0}, "nodes=0"),
        ({"runtime": -1}, "runtime=-1"),
        ({"mpi": "srun"}, "mpi"),
        ({"slurm_partition": "p\n#SBATCH --wrap=evil"}, "control character"),
        ({"slurm_extra": "--comment=mine"}, "leave it out"),
        ({"slurm_extra": "--mail-user='a\nb'"}, "control character"),
        ({"slurm_extra": "--gres=gpu:8"}, "the resource gpu"),
        ({"slurm_extra": "--signal=USR1@60"}, "signal_delay_s"),
        ({"slurm_extra": "-p gpu"}, "slurm_partition"),
        ({"slurm_extra": "gpu"}, "write it as --NAME=VALUE"),
        ({"slurm_extra": "--mail-user='a"}, "cannot be read"),
    ],
)
def test_what_slurm_would_misread_is_refused_with_the_right_spelling(
    resources: dict[str, Any], right: str
) -> None:
    """One sentence that names what was written and what to write."""
    with pytest.raises(RequestError) as refused:
        request_of(resources, threads=1)
    assert right in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("runtime_min", "delay_s"), [(None, 120), (60, 120), (8, 120), (4, 60), (1, 15)])
def test_the_warning_takes_at_most_a_quarter_of_the_limit(runtime_min: int | None, delay_s: int) -> None:
    """A limit shorter than the warning would be warned of at its start, again and again."""
    assert delay_within(runtime_min, 120) == delay_s


def test_a_job_may_say_its_own_gpu_dialect_and_a_first_shell_line() -> None:
    request = request_of(
        {"gpu": 8, "gpu_model": "a40", "gpu_dialect": "gpus-per-node", "slurm_setup": "a; b"}, 1
    )
    assert (request.gpu_dialect, request.setup) == ("gpus-per-node", "a; b")
    with pytest.raises(RequestError, match="unknown gpu_dialect=gpus; choose gres"):
        request_of({"gpu": 8, "gpu_dialect": "gpus"}, 1)


WHOLE = """
acctg-freq batch bb bbf begin cluster-constraint container context contiguous core-spec
cores-per-socket cpu-freq cpus-per-gpu deadline delay-boot dependency distribution exclude exclusive
export export-file extra-node-info get-user-env gid gpu-bind gpu-freq gpus-per-socket gres-flags
hint hold ignore-pbs input kill-on-invalid-dep licenses mail-type mail-user mcs-label mem-bind
mem-per-gpu mincpus network nice no-kill no-requeue nodefile nodelist ntasks-per-core
ntasks-per-socket overcommit oversubscribe power prefer priority profile propagate quiet reboot
requeue reservation sockets-per-node spread-job switches thread-spec threads-per-core time-min tmp
uid use-min-nodes verbose wait-all-nodes wckey
"""


def test_the_beginning_of_an_option_is_that_option_as_for_sbatch() -> None:
    """No whole name of another one is such a beginning; the names are those of Slurm 22.05's sbatch."""
    whole = WHOLE.split()
    assert list(extra_options(" ".join(f"--{name}" for name in whole))) == whole
    for begun, name in {
        "arr=0-1": "array",
        "comm x": "comment",
        "ti=5": "time",
        "no": "nodes",
        "cluster": "clusters",
    }.items():
        with pytest.raises(RequestError, match=rf"slurm_extra: --{name} is set "):
            extra_options(f"--{begun}")
    for begun, name in {
        "test-only": "test-only",
        "test": "test-only",
        "us": "usage",
        "version": "version",
    }.items():
        with pytest.raises(RequestError, match=rf"slurm_extra: --{name} submits no job: leave it out"):
            extra_options(f"--{begun}")
