"""A trainer that trains nothing, the hook played at its files alone: step checkpoints, requests, a resume.

Epochs of 20 iterations of which every fifth is printed, as mmcv does it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from step_folders import LENGTH, write_step
from toy_trainer import first_epoch, parsed, save, say

from trainrelay_hook import files

ITERATION_S = 0.02


class Hook:
    """What is written beside the settings."""

    def __init__(self, habit: str) -> None:
        self.folder, self.habit = Path(os.environ[files.VARIABLE]).parent, habit
        self.settings = json.loads(Path(os.environ[files.VARIABLE]).read_text())
        self.answered, self.saved_s = 0, time.monotonic()
        self.notes: dict[str, Any] = {"format": 1, "attached": ["mmcv.runner"], "error": None}

    def note(self, **more: Any) -> None:
        self.notes |= more
        for rank in range(2):
            aside = self.folder / f"{rank}.tmp"
            aside.write_text(json.dumps(self.notes))
            aside.replace(self.folder / files.NOTE.format(rank))

    def begun(self) -> int:
        """The step that it continues at, 0 for none."""
        resume = self.settings["resume"]
        self.note(saves=True)
        if resume is None:
            return 0
        if self.habit == "refuses" and self.settings["resume"]:
            self.note(not_resumed="its sampler is another one")
            return 0
        found = json.loads((Path(resume["path"]) / files.MANIFEST).read_text())
        self.note(resumed={name: found[name] for name in ("step", "epoch", "iteration")})
        return int(found["step"])

    def after(self, step: int) -> None:
        steps, request = self.settings["steps"], self.request()
        if request > self.answered and self.habit != "deaf-to-requests":
            self.answered = request
            time.sleep(2.0 if self.habit == "slow-to-save" else 0.0)
            if self.habit == "disk-full":
                self.note(save_error="OSError: [Errno 28] No space left on device")
            else:
                write_step(self.folder.parent, step, request=request)
                time.sleep(600)
        elif time.monotonic() - self.saved_s >= steps["every_s"]:
            self.saved_s = time.monotonic()
            write_step(self.folder.parent, step, saved_s=time.time())
            names = sorted((self.folder.parent / files.STEPS).iterdir())
            for one in names[: -steps["keep"]]:
                shutil.rmtree(one)

    def request(self) -> int:
        return files.requested()


def main() -> None:
    args = parsed()
    hook = Hook(args.habit)
    began = first_epoch(args)
    begun = hook.begun()
    step = begun or (began - 1) * LENGTH
    while step < args.epochs * LENGTH:
        time.sleep(ITERATION_S)
        step += 1
        epoch, iteration = (step - 1) // LENGTH + 1, (step - 1) % LENGTH + 1
        if iteration % 5 == 0:
            say(f"Epoch [{epoch}][{iteration}/{LENGTH}]\tlr: 1.000e-04, eta: 0:00:09, time: 0.1, loss: 1.0")
        if iteration == LENGTH:
            save(args, epoch)
        else:
            hook.after(step)
        if args.habit == "killed-once" and step == 33 and not begun:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
