"""A made training as its trainer would have printed it, in each of the formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from labelled.families import (
    CONSOLE,
    DESCRIBED,
    EPOCHS,
    JSON,
    MMENGINE,
    MMENGINE_JSON,
    STATE,
    TABLE,
    TEXT,
)
from labelled.training import SPEED, Run

# What else COCO's evaluation says, as shares of its first score.
COCO = (1, 1.5, 1.05, 0.5, 1.1, 1.45, 0.8, 1.3, 1.35, 0.8, 1.5, 1.8)


def printed(run: Run) -> str:
    """The whole log."""
    return "".join(f"{line}\n" for line in _PRINTERS[run.format](run)) + run.ends


def _starts(run: Run) -> Iterator[tuple[range, int]]:
    """The rows of each start, and the finished epochs that it resumed after."""
    if run.restart is None:
        yield range(run.rows), 0
    else:
        stop, done = run.restart
        yield range(stop + 1), 0
        yield range(next(r for r, place in enumerate(run.places) if place[0] > done), run.rows), done


def _metrics(run: Run, row: int) -> dict[str, float]:
    """What is not speed, in the order of the family: the terms, the rest, the total, the gradient."""
    names = [
        *run.terms,
        *run.family.others,
        *(f"{name}_unscaled" for name in run.family.unscaled),
        "loss",
        "grad_norm",
    ]
    return {name: run.columns[name][row] for name in dict.fromkeys(names) if name in run.columns}


def _last_of_epoch(run: Run, row: int) -> bool:
    return row + 1 == run.rows or run.places[row + 1][0] != run.places[row][0]


def _whole(run: Run, row: int) -> bool:
    """Whether the epoch of a row came to its end with it."""
    return _last_of_epoch(run, row) and not (run.ends and row + 1 == run.rows)


def _mmcv_text(run: Run) -> Iterator[str]:
    clock = datetime(2024, 5, 1, 12, tzinfo=UTC)
    for rows, done in _starts(run):
        clock += timedelta(minutes=7)
        stamp = f"{clock:%Y-%m-%d %H:%M:%S},011 - mmdet - INFO - "
        yield f"{stamp}Environment info:\n{'-' * 60}\n{_environment()}\n{'-' * 60}"
        yield f"{stamp}Distributed training: True"
        yield f"{stamp}Config:\n{_config(run)}"
        if run.says:
            yield f"{stamp}load checkpoint from local path: ckpts/earlier.pth\n{stamp}{run.says}"
        if done:
            yield f"{stamp}load checkpoint from local path: work_dir/latest.pth"
            yield f"{stamp}resumed epoch {done}, iter {done * run.length}"
        yield f"{stamp}Start running, host: user@node1, work_dir: /train/work_dir"
        unit = f"{run.epochs * run.length} iters" if run.family.by_iteration else f"{run.epochs} epochs"
        yield f"{stamp}workflow: [('train', 1)], max: {unit}"
        for row in rows:
            clock += timedelta(seconds=run.columns["time"][row] * 50)
            stamp = f"{clock:%Y-%m-%d %H:%M:%S},{row % 1000:03d} - mmdet - INFO - "
            yield stamp + _mmcv_row(run, row)
            if _whole(run, row):
                yield from (stamp + line for line in _mmcv_epoch(run, run.places[row][0]))


def _mmcv_row(run: Run, row: int) -> str:
    (epoch, iteration), at = run.places[row], {name: run.columns[name][row] for name in SPEED}
    place = f"Epoch [{epoch}][{iteration}/{run.length}]"
    if run.family.by_iteration:
        place = f"Iter [{run.step(row)}/{run.epochs * run.length}]"
    values = ", ".join(f"{name}: {value:.4f}" for name, value in _metrics(run, row).items())
    return (
        f"{place}\tlr: {at['lr']:.3e}, eta: 2 days, 5:46:49, time: {at['time']:.3f}, "
        f"data_time: {at['data_time']:.3f}, memory: {at['memory']:.0f}, {values}"
    )


def _mmcv_epoch(run: Run, epoch: int) -> Iterator[str]:
    if run.family.by_iteration:
        yield f"Saving checkpoint at {epoch * run.length} iterations"
    else:
        yield f"Saving checkpoint at {epoch} epochs"
    if epoch in run.evaluated:
        place = "Iter(val) [2000]" if run.family.by_iteration else f"Epoch(val) [{epoch}][753]"
        yield f"{place}\t" + ", ".join(f"{name}: {v:.4f}" for name, v in run.evaluated[epoch].items())


def _mmcv_json(run: Run) -> Iterator[str]:
    for number, (rows, _) in enumerate(_starts(run)):
        yield json.dumps({"env_info": _environment(), "config": _config(run), "seed": 0, "exp_name": "x.py"})
        for row in rows:
            epoch, iteration = run.places[row]
            at = run.step(row) if run.family.by_iteration else iteration
            speed = {name: run.columns[name][row] for name in ("lr", "memory", "data_time")}
            # What is done again takes another time: a row that is the same to its last digit is a copy.
            values = {**speed, **_metrics(run, row), "time": run.columns["time"][row] * (1 + number / 1000)}
            rounded = {name: int(v) if name == "memory" else round(v, 5) for name, v in values.items()}
            yield json.dumps({"mode": "train", "epoch": epoch, "iter": at, **rounded})
            if _whole(run, row) and epoch in run.evaluated:
                metrics = {name: round(v, 5) for name, v in run.evaluated[epoch].items()}
                yield json.dumps({"mode": "val", "epoch": epoch, "iter": 753, "lr": rounded["lr"], **metrics})


def _environment() -> str:
    return (
        "sys.platform: linux\nPython: 3.8.18\nCUDA available: True\nGPU 0,1,2,3,4,5,6,7: NVIDIA A40\n"
        "PyTorch: 1.12.1\nMMCV: 1.7.2"
    )


def _config(run: Run) -> str:
    family = run.family
    policy = {
        "cosine": "policy='CosineAnnealing', min_lr_ratio=0.001",
        "steps": f"policy='step', step={list(run.drops)}",
        "poly": "policy='poly', power=1.0, min_lr=0.0, by_epoch=False",
    }[family.schedule]
    warmup = (
        f", warmup='linear', warmup_iters={family.warmup}, warmup_ratio={family.warmup_ratio}"
        if family.warmup
        else ""
    )
    clip = f"grad_clip=dict(max_norm={family.clip:g}, norm_type=2)" if family.clip else "grad_clip=None"
    most = f"max_iters={run.epochs * run.length}" if family.by_iteration else f"max_epochs={run.epochs}"
    lines = [
        "checkpoint_config = dict(interval=1)",
        f"optimizer = dict(type='AdamW', lr={family.lr}, weight_decay=0.01)",
        f"optimizer_config = dict({clip})",
        f"lr_config = dict({policy}{warmup})",
        f"runner = dict(type='{'Iter' if family.by_iteration else 'Epoch'}BasedRunner', {most})",
        "dist_params = dict(backend='nccl')",
    ]
    return "\n".join(lines + ["fp16 = dict(loss_scale='dynamic')"] * run.fp16)


def _mmengine(run: Run) -> Iterator[str]:
    clock = datetime(2024, 5, 1, 12, tzinfo=UTC)
    for rows, done in _starts(run):
        clock += timedelta(minutes=7)
        stamp = f"{clock:%Y/%m/%d %H:%M:%S} - mmengine - INFO - "
        machine = "System environment:\n    sys.platform: linux\n    PyTorch: 2.1.2"
        yield f"{stamp}\n{'-' * 60}\n{machine}\n{'-' * 60}"
        kind = "AmpOptimWrapper" if run.fp16 else "OptimWrapper"
        clip = f"clip_grad=dict(max_norm={run.family.clip:g}), " if run.family.clip else ""
        unit = "Iter" if run.family.by_iteration else "Epoch"
        most = run.epochs * (run.length if run.family.by_iteration else 1)
        yield (
            f"{stamp}Config:\noptim_wrapper = dict({clip}type='{kind}')\n"
            f"train_cfg = dict(max_{unit.lower()}s={most}, type='{unit}BasedTrainLoop')\n"
        )
        if done:
            yield f"{stamp}Load checkpoint from work_dirs/epoch_{done}.pth"
            yield f"{stamp}resumed epoch: {done}, iter: {done * run.length}"
        yield f"{stamp}Checkpoints will be saved to /train/work_dirs."
        for row in rows:
            clock += timedelta(seconds=run.columns["time"][row] * 50)
            stamp = f"{clock:%Y/%m/%d %H:%M:%S} - mmengine - INFO - "
            epoch, iteration = run.places[row]
            place = f"Epoch(train)   [{epoch}][{iteration:4d}/{run.length}]"
            if run.family.by_iteration:
                place = f"Iter(train) [{run.step(row):6d}/{most}]"
            speed = "  ".join(f"{name}: {run.columns[name][row]:.4f}" for name in ("time", "data_time"))
            memory = f"memory: {run.columns['memory'][row]:.0f}"
            values = "  ".join(f"{name}: {value:.4f}" for name, value in _metrics(run, row).items())
            rate = f"lr: {run.columns['lr'][row]:.4e}  eta: 1 day, 5:46:49"
            yield f"{stamp}{place}  {rate}  {speed}  {memory}  {values}"
            if _whole(run, row):
                saved = f"{epoch * run.length} iterations" if run.family.by_iteration else f"{epoch} epochs"
                yield f"{stamp}Saving checkpoint at {saved}"
                if found := run.evaluated.get(epoch):
                    at = (
                        "Iter(val) [753/753]" if run.family.by_iteration else f"Epoch(val) [{epoch}][753/753]"
                    )
                    scores = "  ".join(f"{name}: {v:.4f}" for name, v in found.items())
                    yield f"{stamp}{at}    {scores}  data_time: 0.0028  time: 0.1032"


def _mmengine_json(run: Run) -> Iterator[str]:
    for row, (epoch, _) in enumerate(run.places):
        speed = {name: run.columns[name][row] for name in ("lr", "data_time")}
        values = {**speed, **_metrics(run, row), "time": run.columns["time"][row]}
        place = {"iter": run.step(row), "memory": int(run.columns["memory"][row]), "step": run.step(row)}
        counted = {} if run.family.by_iteration else {"epoch": epoch}
        yield json.dumps({**values, **counted, **place})
        if _last_of_epoch(run, row) and epoch in run.evaluated:
            at = epoch * run.length if run.family.by_iteration else epoch
            yield json.dumps({**run.evaluated[epoch], "data_time": 0.0028, "time": 0.1032, "step": at})


def _rows(run: Run) -> Iterator[dict[str, float]]:
    """By steps over the whole run, an evaluation in its own row."""
    for row, (epoch, _) in enumerate(run.places):
        at = {"epoch": run.step(row) / run.length, "step": run.step(row)}
        yield {"learning_rate": run.columns["lr"][row], **_metrics(run, row), **at}
        if _last_of_epoch(run, row) and epoch in run.evaluated:
            yield (
                {f"eval_{name}": v for name, v in run.evaluated[epoch].items()} | {"eval_runtime": 61.2} | at
            )


def _state(run: Run) -> Iterator[str]:
    steps = run.epochs * run.length
    state = {
        "best_metric": None,
        "epoch": float(run.epochs),
        "global_step": steps,
        "log_history": [*_rows(run)],
    }
    yield json.dumps({**state, "max_steps": steps, "num_train_epochs": run.epochs}, indent=2)


def _table(run: Run) -> Iterator[str]:
    """As Lightning's CSVLogger: steps from 0, and a row for each group of metrics."""
    rows = list(_rows(run))
    trained = {name: f"train_{name}" for name in _metrics(run, 0)}
    evaluated = {f"eval_{name}": f"val_{name}" for name in next(iter(run.evaluated.values()), {})}
    names = {"learning_rate": "lr-AdamW", **trained, **evaluated}
    yield ",".join(["epoch", *names.values(), "step"])
    for row in rows:
        cells = (f"{row[name]:.6g}" if name in row else "" for name in names)
        yield ",".join([str(int(row["epoch"] - 1e-9)), *cells, str(int(row["step"]) - 1)])


def _console(run: Run) -> Iterator[str]:
    for rows, done in _starts(run):
        drop = f"lr_drop={run.drops[0]}, " if run.drops else ""
        resume = "out/checkpoint.pth" if done else ""
        yield "| distributed init (rank 0): env://"
        yield (
            f"Namespace(batch_size=2, clip_max_norm={run.family.clip or 0.0}, device='cuda', "
            f"dist_backend='nccl', distributed=True, epochs={run.epochs}, lr={run.family.lr}, {drop}"
            f"output_dir='out', resume={resume!r}, seed=42, start_epoch={done}, world_size=8)"
        )
        yield "number of params: 41302368"
        yield "Start training"
        for row in rows:
            yield _console_row(run, row)
            if _whole(run, row):
                yield from _console_epoch(run, run.places[row][0], row)
    if not run.ends:
        yield "Training time 1 day, 3:04:18"


def _console_row(run: Run, row: int) -> str:
    epoch, iteration = run.places[row]
    meters = [f"lr: {run.columns['lr'][row]:.6f}", *_meters(run, row)]
    speed = f"time: {run.columns['time'][row]:.4f}  data: {run.columns['data_time'][row]:.4f}"
    place = f"Epoch: [{epoch - 1}]  [{iteration - 1:{len(str(run.length))}d}/{run.length}]  eta: 0:08:13"
    return "  ".join([place, *meters, speed, f"max mem: {run.columns['memory'][row]:.0f}"])


def _meters(run: Run, row: int) -> list[str]:
    """`name: median (mean of the epoch so far)`, the gradient norm without a mean."""
    begin = row
    while begin and run.places[begin - 1][0] == run.places[row][0]:
        begin -= 1
    found = []
    for name, value in _metrics(run, row).items():
        mean = sum(run.columns[name][begin : row + 1]) / (row + 1 - begin)
        found.append(f"{name}: {value:.2f}" if name == "grad_norm" else f"{name}: {value:.4f} ({mean:.4f})")
    return found


def _console_epoch(run: Run, epoch: int, row: int) -> Iterator[str]:
    yield f"Epoch: [{epoch - 1}] Total time: 0:21:08 ({run.columns['time'][row]:.4f} s / it)"
    yield "Averaged stats: " + "  ".join([f"lr: {run.columns['lr'][row]:.6f}", *_meters(run, row)])
    if epoch in run.evaluated:
        tested = "  ".join(f"{name}: {v:.4f} ({v:.4f})" for name, v in run.evaluated[epoch].items())
        yield f"Test:  [  0/156]  eta: 0:03:55  {tested}  time: 0.2642  data: 0.1100  max mem: 3887"
        yield f"Test:  [155/156]  eta: 0:00:00  {tested}  time: 0.1642  data: 0.0010  max mem: 3887"
        yield "Test: Total time: 0:00:32 (0.2051 s / it)"
        yield f"Averaged stats: {tested}"


def _epochs(run: Run) -> Iterator[str]:
    for row, (epoch, _) in enumerate(run.places):
        train = {"train_lr": run.columns["lr"][row]}
        train |= {f"train_{name}": value for name, value in _metrics(run, row).items()}
        test: dict[str, object] = {f"test_{name}": v for name, v in run.evaluated.get(epoch, {}).items()}
        if (precision := run.evaluated.get(epoch, {}).get("coco_eval_bbox")) is not None:
            test["test_coco_eval_bbox"] = [precision * share for share in COCO]
        yield json.dumps({**train, **test, "epoch": epoch - 1, "n_parameters": 41302368})


def _described(run: Run) -> Iterator[str]:
    yield "hello from train.py"
    for row, (epoch, iteration) in enumerate(run.places):
        loss = run.columns["loss"][row]
        yield f"Epoch {epoch}/{run.epochs}, step {iteration}/{run.length}, loss: {loss:.4f}"


_PRINTERS = {
    TEXT: _mmcv_text,
    JSON: _mmcv_json,
    CONSOLE: _console,
    EPOCHS: _epochs,
    DESCRIBED: _described,
    MMENGINE: _mmengine,
    MMENGINE_JSON: _mmengine_json,
    STATE: _state,
    TABLE: _table,
}
