"""What trainrelay runs inside the trainer: steps are counted, one that would spoil the weights is not done.

Loaded by supervise/hangs/startup/sitecustomize.py in every rank of an attempt, before the trainer's first
line, and in the processes that a rank starts. Python >= 3.8, torch >= 1.9. It imports nothing of trainrelay,
and torch only after the trainer did. Whatever goes wrong in here, the trainer runs as without it.

| file | one idea |
|---|---|
| `files` | the names and formats of the files that rank and supervisor share; no other import |
| `attach` | which modules of the trainer are added to when it imports them, and the note that says so |
| `mmcv_runner` | mmcv's runner: what is done before and after each of its hooks |
| `not_finite` | loss, gradients and hidden losses are looked at before `optimizer.step` |
| `telemetry` | steps, their time, data time and memory of each rank |
| `agreement` | what one rank has seen, known to all at the same iteration |
"""

from trainrelay_hook.attach import start

__all__ = ["start"]
