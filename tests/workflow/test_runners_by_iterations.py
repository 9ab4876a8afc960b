"""mmcv's IterBasedRunner, started as by mmseg 0.x, and mmengine's IterBasedTrainLoop, both their own:
killed, resumed, judged, promoted; a second stage, and more iterations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainrelay.analysis import analyze, read
from trainrelay.config import Config, parse, stage_paths
from trainrelay.operations.analyze import judge_stage
from trainrelay.operations.promote import promote_stage
from trainrelay.operations.train import train_stage
from trainrelay.training import state
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext
from trainrelay.training.plan import save_interval, stage_plan

SUPPORT = Path(__file__).parents[1] / "support"
CHECKOUTS = {"mmcv": "mmseg_like", "mmengine": "mmengine_checkout"}
CONFIGS = {"mmcv": ("first", "second"), "mmengine": ("by_iteration", "by_iteration")}
KILLED = {"mmcv": [0, 21], "mmengine": [0, 1, 21]}  # rank, (epoch,) iteration
# What says that they resumed: mmcv's file of iteration 16 holds 15.
RESUMED = {"mmcv": "resumed from epoch: 1, iter 15", "mmengine": "resumed epoch: 0, iter: 16"}

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.xdist_group("trainings")]


def config_of(folder: Path, kind: str, iters: int = 24, **asked: Any) -> Config:
    stage = {"iters": iters, "seed": 3, "backends": ["gloo"], "probe": False}
    first, second = ({**stage, "config": f"configs/{name}.py"} for name in CONFIGS[kind])
    stages: dict[str, Any] = {
        "first": {**first, "promotion": {"target": "ckpts/first.pth"}, **asked},
        "second": {**second, "iters": 8, "init_from": "first"},
    }
    env = {"OMP_NUM_THREADS": "1", "PLAN": str(folder / "plan.json")}
    how = {"kind": kind, "root": str(folder / "checkout"), "device": "cpu", "nproc_per_node": 1, "env": env}
    trainer = {**how, "launch": "torch.distributed.run"}
    return parse({"out": str(folder / "runs"), "runs": {"m": {"trainer": trainer, "stages": stages}}})


@pytest.fixture(scope="module", params=["mmcv", "mmengine"])
def killed_once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The kind and the folder of a first stage whose rank was killed before iteration 21 of 24."""
    kind, folder = request.param, tmp_path_factory.mktemp(f"{request.param} iterations")
    shutil.copytree(SUPPORT / CHECKOUTS[kind], folder / "checkout")
    (folder / "plan.json").write_text(json.dumps({"at": KILLED[kind]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained(config_of(folder, kind), "first")
        yield kind, folder


def trained(config: Config, stage: str) -> dict[str, Any]:
    train_stage(StageContext(config, "m", stage))
    promote_stage(StageContext(config, "m", stage))
    found: dict[str, Any] = json.loads(stage_paths(config, "m", stage).checkpoint.read_text())
    return found


def test_it_resumes_from_the_newest_iteration_that_it_saved(killed_once: tuple[str, Path]) -> None:
    kind, folder = killed_once
    paths = stage_paths(config_of(folder, kind), "m", "first")
    attempts = list_attempts(paths.folder)
    assert [(one.end, one.resumed_at, one.epochs, one.iters) for one in attempts] == [
        ("killed", 0, None, 24),
        ("done", 16, None, 24),
    ]
    assert RESUMED[kind] in (paths.folder / "attempts/002/trainer.log").read_text()
    assert attempts[1].last_iteration == 24
    there = {path.name for path in paths.work_dir.glob("*.pth") if not path.is_symlink()}
    assert {"iter_16.pth", "iter_24.pth"} <= there  # of max_keep_ckpts=2
    assert "iter_8.pth" not in there


def test_it_is_judged_and_promoted_by_its_iterations(killed_once: tuple[str, Path]) -> None:
    kind, folder = killed_once
    at = StageContext(config_of(folder, kind), "m", "first")
    source = json.loads(at.paths.checkpoint.read_text())["source"]
    assert Path(source["file"]["path"]).name == "iter_24.pth"
    assert (source["epoch"], source["iteration"]) == (None, 24)
    assert (folder / "checkout/ckpts/first.pth").is_file()
    facts = state.read(at)
    assert state.judge(facts).reason == "24 of 24 iterations trained"
    assert save_interval(facts) == 8
    analysis = judge_stage(facts)
    assert (analysis.by_iteration, analysis.iterations, analysis.progress.finished) == (True, 24, True)
    assert not [found for found in analysis.findings if found.blocking]
    assert "not-resumed" not in {found.check for found in analysis.findings}
    assert [step for step, _ in analysis.curves["val"][sorted(analysis.curves["val"])[0]]] == [8, 16, 24]


def test_the_best_of_its_iterations_is_promoted(killed_once: tuple[str, Path]) -> None:
    """Its file is there: save_best kept it."""
    kind, folder = killed_once
    metric, mode = {"mmcv": ("mIoU", "max"), "mmengine": ("error", "min")}[kind]
    plain = StageContext(config_of(folder, kind), "m", "first")
    curves = judge_stage(state.read(plain)).curves["val"]
    scores = dict(next(points for name, points in curves.items() if name.endswith(metric)))
    best = (max if mode == "max" else min)(scores, key=lambda at: scores[at])
    at = StageContext(config_of(folder, kind, checkpoint={"best": metric, "mode": mode}), "m", "first")
    promote_stage(at)
    record = json.loads(at.paths.checkpoint.read_text())
    assert record["best"]["first"] == {"unit": "iteration", "done": best, "value": scores[best]}
    assert record["source"]["iteration"] == best
    assert Path(record["source"]["file"]["path"]).name.endswith(f"iter_{best}.pth")
    promote_stage(plain)


def test_its_json_logs_say_the_same(killed_once: tuple[str, Path]) -> None:
    """mmcv's rows have an epoch of the data, mmengine's none."""
    kind, folder = killed_once
    pattern = {"mmcv": "*.log.json", "mmengine": "*/vis_data/2*.json"}[kind]
    logs = sorted(stage_paths(config_of(folder, kind), "m", "first").work_dir.glob(pattern))
    analysis = analyze(read(logs[-1:]))
    assert (analysis.by_iteration, analysis.iterations) == (True, 24)


@pytest.mark.long
def test_a_second_stage_begins_and_more_iterations_continue(killed_once: tuple[str, Path]) -> None:
    kind, folder = killed_once
    assert trained(config_of(folder, kind), "second")["source"]["iteration"] == 8
    raised = StageContext(config_of(folder, kind, 32), "m", "first")
    planned = stage_plan(raised)
    assert planned.doing == "continues from iteration 24 to 32"
    assert planned.price
    assert planned.price.iterations == 8
    assert trained(config_of(folder, kind, 32), "first")["source"]["iteration"] == 32
    assert list_attempts(raised.paths.folder)[-1].resumed_at == 24
