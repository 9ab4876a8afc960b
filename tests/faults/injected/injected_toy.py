#!/usr/bin/env python3
"""Stands in for the trainer's interpreter: says and leaves what mmcv does, after it has stamped its start."""

import shutil
import sys
import time
from pathlib import Path

from injected_stamps import begin

begin()
work_dir = Path(sys.argv[sys.argv.index("--work-dir") + 1])
for epoch in (1, 2, 3):
    line = f"Epoch [{epoch}][1/1]\tlr: 1.000e-04, eta: 0:00:09, time: 0.1, loss: {10 / epoch:.4f}"
    print(f"2022-06-19 13:40:00,011 - mmdet - INFO - {line}", flush=True)
    time.sleep(0.1)
    work_dir.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("templates") / f"epoch_{epoch}.pth", work_dir / "aside")
    (work_dir / "aside").replace(work_dir / f"epoch_{epoch}.pth")
