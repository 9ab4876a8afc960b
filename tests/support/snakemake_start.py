"""As much of Snakemake's workflow as `dag` asks where a training is about to start."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

from support.stage_on_disk import OnDisk


def about_to_start(disk: OnDisk, executor: str, groups: dict[str, str]) -> Any:
    """What Snakemake is where it starts the stage's job, in no group."""
    job = SimpleNamespace(output=[disk.paths.train])
    return SimpleNamespace(
        modifier=SimpleNamespace(path_modifier=SimpleNamespace(replace_prefix=lambda path: path)),
        dag=SimpleNamespace(needrun_jobs=lambda: [job], get_job_group=lambda _: None),
        executor_plugin=SimpleNamespace(name=executor),
        group_settings=SimpleNamespace(overwrite_groups=groups),
        logger_manager=SimpleNamespace(logger=logging.getLogger("of no workflow")),
        onstart=None,
        onerror=None,
        _onstart=lambda _: None,
        _onerror=lambda _: None,
        non_local_exec=True,
    )
