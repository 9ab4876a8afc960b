"""Checkpoints that are not what they should be, and a config that is not what it was."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from faults.bench import EPOCHS, ITERATIONS, TRAIN, Bench, next_attempt
from faults.fault import Measurement, fault
from faults.launch import Launch
from support.project import KEYPOINTS
from trainrelay.checkpoint import glance

KILLED = "and rank 0 SIGKILLed, in epoch 3, iteration 1"
MUST = "killed; resumes by itself from the newest valid one, says what it passed over, completes"


def _dies_with(bench: Bench, kind: str) -> Launch:
    """Rank 0 damages checkpoints and dies when two epochs are trained; whatever came of that has ended."""
    bench.inject(kind=kind, rank=0, epoch=EPOCHS, iteration=1)
    return bench.train()


def _damaged(bench: Bench) -> dict[str, str]:
    """The checkpoints as the damage left them."""
    return dict(bench.stamps().of("damaged")[0]["checkpoints"])


def _passed_over(bench: Bench, kind: str, problem: str) -> Measurement:
    """The newest one was passed over with its problem named, and was there until training replaced it."""
    newest, before = bench.work_dir / "epoch_2.pth", bench.work_dir / "epoch_1.pth"
    bench.judged_by_row.add(newest)
    launch = _dies_with(bench, kind)
    seen = bench.resumed(launch, "killed")
    record = bench.attempts()[1]
    assert record.resumed_from, f"the second attempt began from scratch:\n{launch.text}"
    assert Path(record.resumed_from.path) == before, f"it resumed from {record.resumed_from.path}"
    said = [line for _, line in launch.lines if "not resumed from" in line]
    assert any(newest.name in line and problem in line for line in said), (
        f"it does not say that {newest.name} {problem}, but: {said}\n{launch.text}"
    )
    begins = [one for one in bench.stamps().of("epoch") if one["tag"] == record.tag]
    digest = _damaged(bench)[str(newest)]
    assert begins[0]["checkpoints"].get(str(newest)) == digest, (
        f"{newest.name} was touched before training came to it: {begins[0]}"
    )
    return seen


@fault(
    "newest-truncated",
    "newest checkpoint truncated",
    injected=f"epoch_2.pth cut to half {KILLED}",
    must=MUST,
)
def newest_truncated(bench: Bench) -> Measurement:
    return _passed_over(bench, "newest-truncated", "truncated")


@fault("newest-empty", "newest checkpoint empty", injected=f"epoch_2.pth emptied {KILLED}", must=MUST)
def newest_empty(bench: Bench) -> Measurement:
    return _passed_over(bench, "newest-empty", "is empty")


@fault("newest-nan", "newest checkpoint all NaN", injected=f"epoch_2.pth all NaN {KILLED}", must=MUST)
def newest_nan(bench: Bench) -> Measurement:
    return _passed_over(bench, "newest-nan", "is not finite")


@fault(
    "malicious-pickle",
    "malicious pickle as checkpoint",
    injected=f"epoch_2.pth, else valid, creates a file when it is unpickled; {KILLED[4:]}",
    must="payload does not run; passed over with a sentence; resumes, completes",
)
def malicious_pickle(bench: Bench) -> Measurement:
    return _never_runs(bench, "newest-malicious", "is unsafe: it wants to")


@fault(
    "malicious-archive",
    "malicious pickle that only torch finds",
    injected=f"beside data.pkl epoch_2.pth has a DATA.PKL, which torch loads instead; {KILLED[4:]}",
    must="payload does not run; passed over with a sentence; resumes, completes",
)
def malicious_archive(bench: Bench) -> Measurement:
    return _never_runs(bench, "newest-hiding", "two members whose names differ in case alone")


def _never_runs(bench: Bench, kind: str, problem: str) -> Measurement:
    """The newest one was passed over; its payload would have run in torch's hands and did not."""
    seen = _passed_over(bench, kind, problem)
    ran = bench.plan.with_name("ran")
    assert not ran.exists(), "the payload ran"
    code = "import sys, torch; torch.load(sys.argv[1], weights_only=False)"
    subprocess.run([sys.executable, "-c", code, bench.plan.with_name("malicious.pth")], check=True)
    assert ran.exists(), "the payload does nothing even where nobody guards against it"
    return seen


@fault(
    "constant-infinities",
    "model with a mask of infinities",
    injected=f"the model registers a causal mask of -inf, as a buffer; {KILLED[4:]}",
    must="killed; resumes by itself, completes, is promoted",
)
def constant_infinities(bench: Bench) -> Measurement:
    bench.inject({"kind": "mask"}, kind="sigkill", rank=0, epoch=EPOCHS, iteration=1)
    seen = bench.resumed(bench.train(), "killed")
    point = bench.attempts()[1].resumed_from
    assert point, "the second attempt began from scratch"
    assert point.epoch == EPOCHS - 1, f"it resumed from {point.path}"
    promote = bench.ended("trainrelay", "promote", bench.where)
    assert promote.wait() == 0, f"promote refused it:\n{promote.text}"
    record = json.loads((bench.stage / "checkpoint.json").read_text())
    assert record["source"]["constant_infinity"] == "attention_mask", f"checkpoint.json says: {record}"
    return seen


@fault(
    "every-one-bad",
    "every checkpoint bad",
    injected=f"epoch_1.pth and epoch_2.pth cut to half {KILLED}",
    must="final, one sentence that says what to run, nothing deleted; what it says helps",
)
def every_one_bad(bench: Bench) -> Measurement:
    bench.judged_by_row |= {bench.work_dir / f"epoch_{epoch}.pth" for epoch in range(1, EPOCHS)}
    launch = _dies_with(bench, "every-one-truncated")
    noticed_s = launch.said_at("none of the 2 checkpoints") - bench.moments()[0]["at_s"]
    _refused(bench, launch)
    _refused(bench, bench.train())
    aside = bench.stage.with_name(f"{bench.stage.name}.old") / bench.work_dir.name
    typed = launch.text.rpartition("give it up with: ")[2].strip()
    subprocess.run(typed, shell=True, check=True, cwd=bench.folder)
    assert len(list(aside.glob("epoch_*.pth"))) == len(_damaged(bench)), f"it moved something else: {typed}"
    bench.new_training()
    again = bench.train()
    assert (again.process.returncode, bench.complete()) == (0, True), f"then it said:\n{again.text}"
    return Measurement(
        noticed_s, "killed", "your decision (exit status 2)", "final; what it says to run helps"
    )


def _refused(bench: Bench, launch: Launch) -> None:
    """The last line says what to run; every checkpoint is there as the damage left it; nothing trains."""
    status = launch.wait()
    assert status == 2, f"it ended with exit status {status} and said:\n{launch.text}"
    assert "Traceback" not in launch.text, launch.text
    last = launch.text.strip().splitlines()[-1]
    assert "put a valid checkpoint back, or give it up with: mv " in last, f"its last line was: {last}"
    found = [record.end for record in bench.attempts()]
    assert found == ["killed"], f"the attempts ended {found}"
    bench_now = {str(path): path for path in bench.work_dir.glob("epoch_*.pth")}
    assert set(bench_now) == set(_damaged(bench)), f"there is now: {sorted(bench_now)}"


@fault(
    "latest-dangling",
    "`latest.pth` dangling",
    injected=f"latest.pth names epoch_9.pth, which is not there, {KILLED}",
    must="killed; resumes by itself from the newest valid one, completes",
)
def latest_dangling(bench: Bench) -> Measurement:
    launch = _dies_with(bench, "latest-dangling")
    seen = bench.resumed(launch, "killed")
    point = bench.attempts()[1].resumed_from
    assert point, f"the second attempt began from scratch:\n{launch.text}"
    assert Path(point.path).name == "epoch_2.pth", f"it resumed from {point.path}"
    return seen


@fault(
    "no-checkpoint",
    "no checkpoint when an attempt died",
    injected="SIGKILL in rank 1, epoch 1, iteration 3",
    must="killed; from init with the reason, completes",
)
def no_checkpoint(bench: Bench) -> Measurement:
    bench.inject(kind="sigkill", rank=1, epoch=1, iteration=3)
    launch = bench.train()
    seen = bench.resumed(launch, "killed")
    assert bench.attempts()[1].resumed_from is None, "it resumed from somewhere"
    reason = "starts from the beginning: there is no checkpoint yet"
    assert reason in launch.text, f"it does not say why it begins from scratch:\n{launch.text}"
    return seen


# ---------------------------------------------------------------------- the config


def _config(bench: Bench) -> Path:
    return bench.folder / "workflow/demo/driving/projects/configs/stage1_track_map/track_map.py"


def _edit(bench: Bench, old: str, new: str) -> float:
    """Changes the trainer config while an interrupted training waits; when that was."""
    bench.interrupted(epoch=EPOCHS)
    path = _config(bench)
    text = path.read_text()
    assert old in text, f"{path} does not hold {old!r}"
    path.write_text(text.replace(old, new))
    bench.injected_now("config-changed")
    return float(bench.moments()[-1]["at_s"])


@fault(
    "config-changed",
    "config changed between attempts",
    injected="the learning rate halved after an interrupt in epoch 3",
    must="the old training archived whole, the new one from scratch",
)
def config_changed(bench: Bench) -> Measurement:
    edited_s = _edit(bench, "lr=2e-3", "lr=1e-3")
    old = bench.moments()[-1]["checkpoints"]
    assert len(old) == EPOCHS - 1, f"the interrupted training left {sorted(old)}"
    bench.judged_by_row |= {Path(path) for path in old}
    bench.new_training()
    launch = bench.train()
    records = bench.attempts()
    found = [(record.number, record.resumed_from, record.end) for record in records]
    assert found == [(1, None, "done")], f"the attempts of the new training: {found}\n{launch.text}"
    assert (launch.wait(), bench.complete()) == (0, True), launch.text
    aside = bench.stage.with_name("stage1.old-1")
    bench.same(old, aside / "work_dir")
    noticed_s = launch.said_at("the old training is archived in") - edited_s
    return Measurement(noticed_s, "changed", f"{next_attempt(records[0])}; the old one is kept", "completes")


@fault(
    "config-comment-changed",
    "only a comment in the config changed",
    injected="a comment added to the trainer config after an interrupt in epoch 3",
    must="resumes, completes",
)
def config_comment_changed(bench: Bench) -> Measurement:
    edited_s = _edit(bench, "lr=2e-3", "lr=2e-3  # as in the paper\n   ")
    launch = bench.train()
    records = bench.attempts()
    found = [record.end for record in records]
    assert found == ["interrupted", "done"], f"the attempts ended {found}; it said:\n{launch.text}"
    point = records[1].resumed_from
    assert point, f"it did not resume:\n{launch.text}"
    assert point.epoch == EPOCHS - 1, f"it resumed after epoch {point.epoch}"
    assert (launch.wait(), bench.complete()) == (0, True), launch.text
    return Measurement(
        launch.said_at("attempt 2 ") - edited_s, "interrupted", next_attempt(records[1]), "completes"
    )


@fault(
    "change-reverted",
    "config changed, trained to the end, and reverted",
    injected="the stage has its own work_dir; optimizer.lr set as an option and trained, then removed",
    must="refused with `trainrelay restore`; then the first training's own checkpoint is promoted",
)
def change_reverted(bench: Bench) -> Measurement:
    options = dict(bench.options())
    bench.configure(work_dir="work_dirs/stage1")
    work_dir = bench.folder / "workflow/demo/driving/work_dirs/stage1"
    bench.inject()
    assert (launch := bench.train()).process.returncode == 0, launch.text
    first = sha256(work_dir)
    bench.new_training()
    bench.configure(options={**options, "optimizer.lr": 1e-3})
    assert (launch := bench.train()).process.returncode == 0, launch.text
    assert sha256(work_dir) != first, "both trainings saved the same"
    bench.configure(options=options)
    bench.injected_now("change-reverted")
    assert bench.snakemake().process.returncode, "what is trained for another config was promoted"
    refused = bench.train()
    told = re.search(r"run: (trainrelay restore driving/stage1 1);", refused.text)
    assert told, f"it is not refused with what to run:\n{refused.text}"
    assert refused.process.returncode, refused.text
    assert not bench.promoted.exists(), "something was promoted"
    assert (launch := bench.ended(*told[1].split())).process.returncode == 0, launch.text
    again = bench.snakemake()
    assert (again.wait(), bench.complete()) == (0, True), again.text
    assert hashlib.sha256(bench.promoted.read_bytes()).hexdigest() == first, "another file was promoted"
    noticed_s = refused.said_at("trainrelay restore") - refused.started_s
    return Measurement(
        noticed_s, "done", "your decision (trainrelay restore)", "completes; the right file is promoted"
    )


def sha256(work_dir: Path) -> str:
    """Of the last epoch's checkpoint."""
    return hashlib.sha256((work_dir / f"epoch_{EPOCHS}.pth").read_bytes()).hexdigest()


@fault(
    "second-working-copy",
    "a second working copy names the same work_dir",
    injected="a config with another `out` and another lr starts while the first one's trainer is in epoch 2",
    must="the second is refused before its trainer starts, the first completes",
)
def second_working_copy(bench: Bench) -> Measurement:
    bench.configure(work_dir="work_dirs/stage1")
    ours = (bench.folder / "config.yaml").read_text()
    bench.configure(options={**bench.options(), "optimizer.lr": 1e-3})
    bench.project.configure(lambda data: data.update(out="other"))
    (bench.folder / "config.yaml").rename(bench.folder / "other.yaml")
    (bench.folder / "config.yaml").write_text(ours)
    first = bench.held(*TRAIN)
    bench.injected_now("second-working-copy")
    second = bench.ended(*TRAIN, "--configfile", "other.yaml")
    assert second.process.returncode == 2, second.text
    noticed_s = (
        second.said_at("belongs to another training, that of .*runs/driving/stage1") - second.started_s
    )
    assert not (bench.folder / "other/driving/stage1/attempts").exists(), "its trainer was started"
    bench.go_on()
    assert (first.wait(), bench.complete()) == (0, True), first.text
    return Measurement(
        noticed_s, "done", "your decision (exit status 2)", "the first completes, the second trained nothing"
    )


# ---------------------------------------------------------------------- the other trainer


@fault(
    "keypoints-sigkilled",
    "one rank SIGKILLed, a trainer of DETR's family",
    injected="SIGKILL in rank 1, epoch 2, iteration 3 of the keypoints demo",
    must="killed; resumes by itself, completes",
)
def keypoints_sigkilled(bench: Bench) -> Measurement:
    _keypoints(bench)
    bench.inject(kind="sigkill", rank=1, epoch=2, iteration=3)
    return bench.resumed(bench.train(), "killed")


def _saves_in_place(bench: Bench, kind: str) -> Launch:
    """A training with one checkpoint.pth, of which epoch 1 is kept and half of epoch 2 is written."""
    _keypoints(bench)
    bench.inject(kind=kind, rank=None, epoch=2, iteration=0)
    launch = bench.start("trainrelay", "train", bench.where)
    bench.wait_for(
        "the copy", lambda: launch.ended or glance(bench.stage / "kept/checkpoint.pth").number == 0
    )
    bench.go_on(2, 1)
    bench.wait_for("half a checkpoint", lambda: launch.ended or bench.stamps().of("fired"))
    return launch


@fault(
    "killed-while-saving",
    "killed while it overwrites its one checkpoint",
    injected="SIGKILL in rank 0 with half of epoch 2's checkpoint.pth written over epoch 1's",
    must="killed; resumes by itself from the copy kept of epoch 1's, completes",
)
def killed_while_saving(bench: Bench) -> Measurement:
    seen = bench.resumed(_saves_in_place(bench, "killed-while-saving"), "killed")
    point = bench.attempts()[1].resumed_from
    assert point, "the second attempt began from scratch"
    assert (point.epoch, Path(point.path).parent) == (1, bench.stage / "kept"), f"it resumed from {point}"
    return seen


@fault(
    "stopped-while-saving",
    "stopped while it overwrites its one checkpoint",
    injected="SIGTERM to the supervisor with half of epoch 2's checkpoint.pth written over epoch 1's",
    must="the write is waited for; interrupted; a relaunch resumes after epoch 2, completes",
)
def stopped_while_saving(bench: Bench) -> Measurement:
    launch = _saves_in_place(bench, "stopped-while-saving")
    launch.process.send_signal(signal.SIGTERM)
    noticed_s = bench.said_at(launch, "waiting for the write of checkpoint.pth") - bench.moments()[0]["at_s"]
    bench.go_on(2, 2)
    assert launch.wait() == 75, f"the stopped training said:\n{launch.text}"
    assert glance(bench.work_dir / "checkpoint.pth").number == 1, f"it is not whole:\n{launch.text}"
    relaunch = bench.train()
    found = [(record.end, record.resumed_from and record.resumed_from.epoch) for record in bench.attempts()]
    assert found == [("interrupted", None), ("done", 2)], f"the attempts: {found}\n{relaunch.text}"
    assert (relaunch.wait(), bench.complete()) == (0, True), relaunch.text
    return Measurement(noticed_s, "interrupted", next_attempt(bench.attempts()[1]), "completes")


def _keypoints(bench: Bench) -> None:
    """The bench plays with the keypoints demo instead, epochs as long as the driving demo's."""
    entry = bench.plan.with_name("main_injected.py")
    shutil.move(entry, bench.folder / "workflow/demo/keypoints" / entry.name)
    trainer = dict(KEYPOINTS["runs"]["keypoints"]["trainer"])
    trainer.update(entry=f"./{entry.name}", env={**trainer["env"], "PYTHONPATH": str(bench.plan.parent)})
    stage = dict(KEYPOINTS["runs"]["keypoints"]["stages"]["pose"])
    stage.update(
        epochs=EPOCHS, options={**stage["options"], "train_images": 2 * 8 * ITERATIONS, "print_freq": 1}
    )
    runs = {"keypoints": {"trainer": trainer, "stages": {"pose": stage}}}
    bench.project.configure(lambda data: data.update(runs=runs))
    bench.where = "keypoints/pose"
