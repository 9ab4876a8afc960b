"""What each training waits for before it starts is small."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.process
def test_train_and_promote_import_neither_analysis_nor_report() -> None:
    code = (
        "import sys, trainrelay.cli.stage;"
        " print([n for n in ('analysis', 'report') if f'trainrelay.{n}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
