"""What trainrelay runs inside the trainer: counted steps, a stop before a bad one, step checkpoints.

Loaded by supervise/hangs/startup/sitecustomize.py in every rank of an attempt, before the trainer's first
line, and in the processes that a rank starts. Python >= 3.8, torch >= 1.9. It imports nothing of trainrelay,
and torch only after the trainer did. Whatever goes wrong in here, the trainer runs as without it.

| file | one idea |
|---|---|
| `files` `notes` | the names and formats of the files that rank and supervisor share; this rank's own word |
| `attach` | which modules of the trainer are added to when it imports them, and the note that says so |
| `mmcv_runner` | mmcv's runner: what is done before and after each of its hooks |
| `telemetry` | steps, their time, data time and memory of each rank |
| `agreement` | what one rank has seen, known to all at the same iteration |
| `optimizers` | what is done around a runner's optimizers' methods |
| `not_finite` | loss, gradients and hidden losses are looked at before `optimizer.step` |
| `step_saving` `resume` | when a step checkpoint is saved; a training continued at one |
| `step_state` `step_files` `tensor_file` | what is in one; its folder; tensors, copied, then written |
| `data_order` `sample_seeds` `random_states` | the order of samples; each sample's draws; the generators |

A training script of another kind saves at the supervisor's request in three lines:

    from trainrelay_hook import checkpoint_requested
    if checkpoint_requested():  # at the end of an iteration, on one rank; tell the others
        save()
"""

from trainrelay_hook.attach import start
from trainrelay_hook.files import checkpoint_requested

__all__ = ["checkpoint_requested", "start"]
