"""Snakemake's own acceptance suite for executor plugins, with every job a process of this machine."""

from __future__ import annotations

import pytest
from snakemake.common.tests import TestWorkflowsLocalStorageBase

from snakemake_executor_plugin_submitit import ExecutorSettings


class TestAcceptanceOnLocal(TestWorkflowsLocalStorageBase):
    """Single jobs and group jobs run as processes that submitit starts."""

    __test__ = True
    cluster = "local"
    direct = False

    def get_executor(self) -> str:
        return "submitit"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(cluster=self.cluster, direct=self.direct)


class TestAcceptanceOfDirect(TestAcceptanceOnLocal):
    """Plain shell rules run without a second Snakemake."""

    direct = True


@pytest.mark.long
class TestAcceptanceOnDebug(TestAcceptanceOnLocal):
    """The same, inside of Snakemake's own process."""

    cluster = "debug"
