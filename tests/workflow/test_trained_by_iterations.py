"""A loop by iterations, as nanoGPT's, unmodified: trained, killed, resumed, promoted, and a second stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainrelay.config import Config, parse, stage_paths
from trainrelay.operations.analyze import judge_stage
from trainrelay.operations.promote import promote_stage
from trainrelay.operations.train import train_stage
from trainrelay.training import state
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext
from trainrelay.training.plan import stage_plan

# Like nanoGPT's: evaluates and saves before the iteration, prints some of them, counts from 0.
SCRIPT = """\
import argparse, os, time, torch
p = argparse.ArgumentParser()
for name in ("--out", "--resume", "--init"): p.add_argument(name)
p.add_argument("--max_iters", type=int)
p.add_argument("--name", default="ckpt.pt")
p.add_argument("--die", type=int, default=0)
args = p.parse_args()
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
iter_num = 0
if args.init: model.load_state_dict(torch.load(args.init)["model"])
if args.resume:
    saved = torch.load(args.resume)
    model.load_state_dict(saved["model"]); optimizer.load_state_dict(saved["optimizer"])
    iter_num = saved["iter_num"]
while True:
    if iter_num % 10 == 0:
        print(f"step {iter_num}: train loss 1.0, val loss 1.1", flush=True)
        if iter_num > 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iter_num": iter_num}
            torch.save(state, os.path.join(args.out, args.name.replace("ITER", str(iter_num))))
    loss = model(torch.ones(2, 4)).pow(2).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    if iter_num % 2 == 0:
        print(f"iter {iter_num}: loss {loss.item():.4f}, time 9.1ms, mfu 1.00%", flush=True)
    if args.die and iter_num == args.die and not args.resume:
        time.sleep(2); os.kill(os.getpid(), 9)
    iter_num += 1
    if iter_num > args.max_iters: break
"""

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.xdist_group("trainings")]


def config_of(folder: Path, iters: int = 40, name: str = "ckpt.pt") -> Config:
    (folder / "checkout").mkdir(exist_ok=True)
    (folder / "checkout/train.py").write_text(SCRIPT)
    stage: dict[str, Any] = {"config": "train.py", "backends": ["gloo"]}
    script = {
        "command": "{interpreter} {entry} --out {work_dir} --max_iters {iters}",
        "init": "--init {init_checkpoint}",
        "checkpoints": name,
    }
    trainer = {
        "kind": "script",
        "root": str(folder / "checkout"),
        "entry": "train.py",
        "nproc_per_node": 1,
        "device": "cpu",
        "env": {"OMP_NUM_THREADS": "1"},
        "script": script,
    }
    option = {"name": name.replace("{iter}", "ITER")} if name != "ckpt.pt" else {}
    stages = {
        "one": {**stage, "iters": iters, "options": {"die": 25, **option}},
        "two": {**stage, "iters": 10, "init_from": "one", "options": option},
    }
    return parse({"out": str(folder / "runs"), "runs": {"gpt": {"trainer": trainer, "stages": stages}}})


def trained(config: Config, stage: str) -> dict[str, Any]:
    train_stage(StageContext(config, "gpt", stage))
    promote_stage(StageContext(config, "gpt", stage))
    found: dict[str, Any] = json.loads(stage_paths(config, "gpt", stage).checkpoint.read_text())
    return found


@pytest.mark.parametrize("name", ["ckpt.pt", pytest.param("ckpt_{iter}.pt", marks=pytest.mark.long)])
def test_it_is_trained_killed_resumed_promoted_raised_and_begins_a_second_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A checkpoint written over in place, and one for each save; no record tells of an epoch."""
    monkeypatch.chdir(tmp_path)
    config = config_of(tmp_path, name=name)
    source = trained(config, "one")["source"]
    assert (source["epoch"], source["iteration"]) == (None, 40)
    attempts = list_attempts(stage_paths(config, "gpt", "one").folder)
    assert [(one.end, one.resumed_at, one.epochs, one.iters) for one in attempts] == [
        ("killed", 0, None, 40),
        ("done", 20, None, 40),
    ]
    at = StageContext(config, "gpt", "one")
    assert state.current(at).reason == "40 of 40 iterations trained"
    analysis = judge_stage(state.read(at))
    assert (analysis.by_iteration, analysis.iterations, analysis.progress.finished) == (True, 40, True)
    assert not [finding for finding in analysis.findings if finding.blocking]
    assert analysis.curves["train"]["loss"][-1][0] == 40
    assert stage_plan(StageContext(config, "gpt", "two")).doing == "trains 10 iterations"
    assert trained(config, "two")["source"]["iteration"] == 10
    raised = StageContext(config_of(tmp_path, 60, name), "gpt", "one")
    planned = stage_plan(raised)
    assert planned.doing == "continues from iteration 40 to 60"
    assert planned.price
    assert planned.price.iterations == 20
    train_stage(raised)
    assert list_attempts(raised.paths.folder)[-1].resumed_at == 40


def test_keep_counts_iterations(tmp_path: Path) -> None:
    """Saved at 10, 20, 30 and 40, resumed from 20."""
    plain = config_of(tmp_path, name="ckpt_{iter}.pt").model_dump(mode="json", by_alias=True)
    plain["runs"]["gpt"]["stages"]["one"]["keep"] = {"last": 1}
    at = StageContext(parse(plain), "gpt", "one")
    train_stage(at)
    assert {path.name for path in at.paths.work_dir.glob("*.pt")} == {"ckpt_20.pt", "ckpt_40.pt"}
    assert "keep removed 2 checkpoints (iteration 10, 30; " in "\n".join(stage_plan(at).notes)
