"""A machine that does not know which Slurm to ask."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.clusters import SlurmCluster, cluster_of
from snakemake_executor_plugin_submitit.errors import RequestError
from snakemake_executor_plugin_submitit.settings import ExecutorSettings, checked

NONE = """\
scontrol: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host
scontrol: error: fetch_config: DNS SRV lookup failed
scontrol: error: _establish_config_source: failed to fetch config
scontrol: fatal: Could not establish a configuration source
"""
AWAY = """\
scontrol: error: _fetch_child: failed to fetch remote configs: Unable to contact slurm controller
scontrol: error: _establish_config_source: failed to fetch config
scontrol: fatal: Could not establish a configuration source
"""


@pytest.fixture(autouse=True)
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("sbatch", "srun", "squeue", "scancel"):
        command(tmp_path / name, "exec sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("SLURM_CONF", raising=False)
    return tmp_path


def command(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n", encoding="utf-8")
    path.chmod(0o755)


def test_it_is_told_at_the_start_and_not_waited_for(commands: Path) -> None:
    command(commands / "scontrol", f"echo '{NONE}' >&2; exit 1")
    with pytest.raises(
        RequestError, match=r"^no Slurm is configured .* login node .* --submitit-cluster local$"
    ):
        cluster_of(checked(ExecutorSettings()))


def test_a_slurm_conf_that_is_not_there_is_named(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's commands would wait a minute for it."""
    monkeypatch.setenv("SLURM_CONF", str(commands / "slurm.conf"))
    with pytest.raises(RequestError, match=r"^there is no .*/slurm\.conf, which SLURM_CONF names, on this"):
        cluster_of(checked(ExecutorSettings()))


@pytest.mark.parametrize("said", [AWAY, "scontrol: error: something else", ""])
def test_what_may_pass_is_waited_for(commands: Path, said: str) -> None:
    """A slurmctld that gives nodes their configuration and is away, for one."""
    command(commands / "scontrol", f"echo '{said}' >&2; exit {1 if said else 0}")
    assert isinstance(cluster_of(checked(ExecutorSettings())), SlurmCluster)
