"""Jobs for trainers that count epochs in one way or another, played by toy_counting.py."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from support.supervising import Alone, toy_job
from trainrelay.records import AttemptRecord
from trainrelay.supervise import StageJob, train
from trainrelay.trainers import Launch, LaunchRequest
from trainrelay.trainers.metriclogger import MetricLogger

SCRIPT = Path(__file__).with_name("toy_counting.py")
EPOCHS = 3


class Toy(MetricLogger):
    """Prints and leaves what the family does."""

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        words = request.options["words"]
        assert isinstance(words, list)
        argv = [request.interpreter, "-u", str(SCRIPT), "--output_dir", request.work_dir, *map(str, words)]
        argv += ["--resume", request.resume_from] if request.resume_from else []
        return Launch(tuple(argv), {}, request.root)


def job_of(folder: Path, templates: Path, **said: Any) -> StageJob:
    words = ["--templates", str(templates), *itertools.chain(*((f"--{k}", str(v)) for k, v in said.items()))]
    job = toy_job(folder, templates, epochs=EPOCHS, trainer=Toy(), learns_base=True)
    return replace(job, request=replace(job.request, options={"words": list(words)}))


def trained(job: StageJob) -> tuple[AttemptRecord, list[int], str]:
    """The outcome of a launch, the epochs that it trained in order, and all that was said."""
    output = io.StringIO()
    outcome = train(job, Console(file=output, width=1000), Alone())
    epochs = (job.work_dirs.current / "trained").read_text().split()
    return outcome, [int(epoch) for epoch in epochs], output.getvalue()
