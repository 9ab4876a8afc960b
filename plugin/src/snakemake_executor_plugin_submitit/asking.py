"""The cluster, asked about all jobs at once: its last answer is kept, and the user hears of its silence."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from snakemake_executor_plugin_submitit.clusters import Cluster
from snakemake_executor_plugin_submitit.errors import UnreachableError
from snakemake_executor_plugin_submitit.slurm import QueueRow, Snapshot


class Asker:
    """Of one controller; it holds what its parts share: the cluster, and the way to the user."""

    def __init__(self, cluster: Cluster, logger: Any) -> None:
        self.rows: Mapping[str, QueueRow] | None = None  # as last answered
        self.rows_s = 0.0  # when they were asked for
        self.cluster, self.logger = cluster, logger
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._asked: Future[Snapshot] | None = None
        self._asked_s = time.monotonic()
        self._silent = False

    def poll(self, job_ids: Iterable[str]) -> Snapshot | None:
        """A new answer; asks again when it is time, without waiting for it."""
        if self._asked is None:
            if time.monotonic() - self._asked_s >= self.cluster.interval_s:
                self._asked_s = time.monotonic()
                self._asked = self._thread.submit(self.cluster.look, job_ids)
            return None
        if not self._asked.done():
            return None
        snapshot, self._asked = self._asked.result(), None
        return self._noted(snapshot, self._asked_s)

    def look(self, job_ids: Iterable[str]) -> Snapshot:
        """Waits for the answer."""
        asked_s = time.monotonic()
        return self._noted(self.cluster.look(job_ids), asked_s)

    def fresh_rows(self) -> Mapping[str, QueueRow]:
        """All that is known now. UnreachableError."""
        snapshot = self.look([])
        if snapshot.rows is None:
            raise UnreachableError(snapshot.trouble)
        return snapshot.rows

    def _noted(self, snapshot: Snapshot, asked_s: float) -> Snapshot:
        self.say_trouble(snapshot.trouble)
        if snapshot.rows is not None:
            self.rows, self.rows_s = snapshot.rows, asked_s
        return snapshot

    def say_trouble(self, trouble: str) -> None:
        """Once when Slurm stops answering, once when it answers again."""
        if trouble and not self._silent:
            self.logger.warning(f"Slurm does not answer; retrying; no job is considered lost: {trouble}")
        elif self._silent and not trouble:
            self.logger.info("Slurm answers again")
        self._silent = bool(trouble)
