"""Snakemake's own acceptance suite for executor plugins, with every job a process of this machine."""

from __future__ import annotations

import pytest
from snakemake.common.tests import TestWorkflowsLocalStorageBase

from snakemake_executor_plugin_submitit import ExecutorSettings


class TestAcceptanceOfDirect(TestWorkflowsLocalStorageBase):
    """Single jobs and groups are processes that submitit starts; plain ones have no second Snakemake."""

    __test__ = True
    direct = True

    def get_executor(self) -> str:
        return "submitit"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(cluster="local", direct=self.direct)


@pytest.mark.long
class TestAcceptanceOnLocal(TestAcceptanceOfDirect):
    """Each with a Snakemake around it."""

    direct = False
