"""What `trainrelay plan` shows is what `snakemake --profile slurm` submits, as Slurm shows the jobs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from slurm.rig import Rig, wait_for
from support.project import Project, make_project

pytestmark = pytest.mark.slow

# Of one job alone: its number, name and files, its times and its place in the queue.
_ITS_OWN = re.compile(
    r"^(AllocNode:Sid|JobId|JobName|Comment|WCKey|Command|WorkDir|Std\w+|Priority|\w+Time|LastSchedEval|Scheduler|Reason)$"
)
_FIELD = re.compile(r"(?:^|\s)([A-Z][\w/:]*)=(\S*)")


@pytest.fixture
def project(clean_rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name, value in clean_rig.environment().items():
        monkeypatch.setenv(name, value)
    clean_rig.scontrol("update", f"NodeName={clean_rig.booted().nodes[0]}", "AvailableFeatures=ib,roce,a40")
    yield make_project(tmp_path / "my project")
    clean_rig.heal()
    clean_rig.scontrol(
        "update", f"NodeName={clean_rig.booted().nodes[0]}", "AvailableFeatures=", "ActiveFeatures="
    )


def shown(rig: Rig, job: str) -> dict[str, str]:
    """What a job asks for, as scontrol shows it."""
    fields = dict(_FIELD.findall(rig.scontrol("--oneliner", "show", "job", job)))
    limit = {"TimeLimit": fields["TimeLimit"]}
    return {name: value for name, value in fields.items() if not _ITS_OWN.match(name)} | limit


def submission(project: Project, controller: subprocess.Popen[bytes]) -> re.Match[str] | None:
    said = (project.folder / "snakemake.log").read_text()
    assert controller.poll() is None, said
    return re.search(r"job (\d+) submitted", said)


@pytest.mark.parametrize(
    ("site", "resources"),
    [
        pytest.param(
            "gpu_dialect: gres-constraint\nconstraint: ib|roce\nsbatch: [--hold, --nice=5]\n",
            {"gpu": 8, "gpu_model": "a40", "runtime_min": 15, "mem_gb": "all", "cpus_per_gpu": 2},
            id="a node's whole memory and a feature",
        ),
        pytest.param(
            "sbatch: [-H]\n",
            {"gpu": 8, "runtime_min": 2, "nodes": 2, "partition": "both"},
            id="the site's memory, two nodes",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_job_in_the_queue_is_the_one_that_the_plan_shows(
    clean_rig: Rig, project: Project, site: str, resources: dict[str, Any]
) -> None:
    (project.folder / "site.yaml").write_text(site)
    ranks = {"nproc_per_node": 1} if "nodes" in resources else {}

    def asks(data: dict[str, Any]) -> None:
        data["runs"]["driving"]["trainer"].update(ranks)
        for stage in data["runs"]["driving"]["stages"].values():
            stage["resources"] = resources

    project.configure(asks)
    planned = orjson.loads(project.trainrelay("plan", "--json").stdout)[0]["sbatch"]
    log = (project.folder / "snakemake.log").open("w")
    controller = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm"],
        cwd=project.folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        found = wait_for(lambda: submission(project, controller), "the submission")
        typed = str(clean_rig.sbatch(*planned, "--output=/dev/null", "--wrap=true"))
        assert shown(clean_rig, found[1]) == shown(clean_rig, typed)
        clean_rig.scancel(found[1], typed)
        controller.wait(timeout=60)
    finally:
        if controller.poll() is None:
            controller.kill()
            controller.wait()
