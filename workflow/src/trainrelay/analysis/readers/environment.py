"""`collect_env` text of mmcv or mmengine -> the few facts that a report shows."""

from __future__ import annotations

import re

from trainrelay.analysis.readers.clean import clean

_GPU = re.compile(r"GPU ([\d,]+): (.+)")
_TORCH = re.compile(r"PyTorch: (\S+)")
_RUNTIME = re.compile(r"CUDA Runtime ([\d.]+)")


def parse(lines: list[str]) -> dict[str, str]:
    """`gpus` (a count), `gpu` (their names), `torch` and `cuda`, as far as the lines say them."""
    found: dict[str, str] = {}
    gpus, names = 0, []
    for line in map(str.strip, lines):
        if match := _GPU.match(line):
            gpus += len([index for index in match[1].split(",") if index])
            names.append(clean(match[2]))
        elif match := _TORCH.match(line):
            found["torch"] = clean(match[1])
        elif match := _RUNTIME.search(line):
            found["cuda"] = match[1]
    if gpus:
        found |= {"gpus": str(gpus), "gpu": ", ".join(dict.fromkeys(names))}
    return found
