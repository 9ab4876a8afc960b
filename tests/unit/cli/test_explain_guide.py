"""A guide to the keypoint system's output goes in, and comes out explained: golden files.

To write them again after a deliberate change: python tests/unit/cli/test_explain_guide.py
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from trainrelay.cli import main

GOLDEN = Path(__file__).parents[1] / "golden" / "explain"
NAMES = ["loss_ce", "loss_coords", "loss_ce_room", "loss_ce_0", "loss_ce_4", "[1]", "[0/2882]", "eta", "lr"]
ASKED = {
    "guide.txt.md": [str(GOLDEN / "guide.txt")],
    "guide.log.md": [str(GOLDEN / "guide.log")],
    "names.md": NAMES,
}
# What the guide says, and the words in which it comes out: where, and what.
SAID = [
    ("guide.txt.md", "`[1]`: The current epoch's number"),
    ("guide.txt.md", "`[0/2882]`: The current batch and all batches of the epoch"),
    ("guide.txt.md", "2882 batches are 5765 images by 2"),
    ("guide.txt.md", "`eta`: Estimated time remaining for this epoch"),
    ("guide.txt.md", "`lr`: The current learning rate"),
    ("guide.txt.md", "loss: 66.2 -> 15.2"),
    ("guide.txt.md", "Validation loss follows training: 37.5 -> 18.4 against 66.2 -> 15.2"),
    ("guide.log.md", "Total loss = classification loss + coordinate loss"),
    ("guide.log.md", "coefficient x unscaled: 5 x "),
    ("guide.log.md", "The sum holds"),
    ("guide.log.md", "Classifies each token in the sequence"),
    ("guide.log.md", "<coord> (a keypoint), <sep> (separator) and <eos> (end of sequence)"),
    ("guide.log.md", "NLL (negative log-likelihood)"),
    ("guide.log.md", "logged as a log probability went from -100 to -300"),
    ("guide.log.md", "a correct cross-entropy is never negative"),
    ("guide.log.md", "below zero, which is a warning sign"),
    ("guide.log.md", "! **seen**: Classification loss below zero"),
    ("guide.log.md", "Predicts the actual (x, y) coordinates of the keypoints"),
    ("guide.log.md", "L1 loss between predicted and ground truth coordinates"),
    ("guide.log.md", "0.2 to 1.5"),
    ("guide.log.md", "one of 49 in one training"),
    ("guide.log.md", "0.0 throughout, which is right here"),
    ("guide.log.md", "with 6 decoder layers, numbered 0 to 5"),
    ("guide.log.md", "Each layer makes predictions"),
    ("guide.log.md", "All should decrease as training progresses"),
    ("guide.log.md", "cls_loss_coef=2, coords_loss_coef=5"),
    ("guide.log.md", "Both are shown for debugging purposes"),
    ("guide.log.md", "Total loss decreasing over epochs"),
    ("guide.log.md", "-100 -> -200 -> -300"),
    (
        "guide.log.md",
        "✓ **seen**: Coordinate loss decreasing (e.g. 1.2 -> 0.8 -> 0.5). loss_coords: 1.2 -> 0.5",
    ),
    ("guide.log.md", "Validation loss tracking training loss (not diverging)"),
    ("guide.log.md", "Loss becoming NaN or Inf: training unstable"),
    ("guide.log.md", "Validation loss much higher than training: overfitting"),
    ("guide.log.md", "Loss not decreasing: learning rate too low or data issues"),
    ("guide.log.md", "particularly important for pose estimation: it should steadily decrease"),
    ("names.md", "loss_ce_4 (keypoints)"),
    ("names.md", "exactly 0.0 is a lost term"),
]


def explained(*words: str) -> str:
    printed = StringIO()
    with redirect_stdout(printed):
        assert main(["explain", *words]) == 0
    return printed.getvalue()


@pytest.mark.parametrize("golden", ASKED)
def test_what_goes_in_comes_out_explained(golden: str) -> None:
    assert (
        explained(*ASKED[golden]).splitlines() == (GOLDEN / golden).read_text(encoding="utf-8").splitlines()
    )


@pytest.mark.parametrize(("golden", "words"), SAID)
def test_every_statement_of_the_guide_is_answered(golden: str, words: str) -> None:
    assert words in (GOLDEN / golden).read_text(encoding="utf-8")


if __name__ == "__main__":
    for name, asked in ASKED.items():
        (GOLDEN / name).write_text(explained(*asked), encoding="utf-8")
    sys.exit(0)
