"""PCK, the percentage of correct keypoints (here a share): how many are where they should."""

import math

from torch import Tensor

from .sequence import decode

PCK = "pck@0.1"
RADIUS = 0.1  # image sides


def count_correct(predicted: tuple[Tensor, Tensor], truth: tuple[Tensor, Tensor]) -> tuple[int, int]:
    """Correct and true keypoints of a batch, from tokens (B, S) and points (B, S, 2) of each.

    The k-th keypoint of the n-th figure is compared with the k-th of the n-th: one that was not predicted
    is wrong, and so is all that follows a figure too many.
    """
    correct = total = 0
    for *written, tokens, points in zip(*map(Tensor.tolist, (*predicted, *truth)), strict=True):
        guesses = decode(*written)
        for n, figure in enumerate(decode(tokens, points)):
            guess = guesses[n] if n < len(guesses) else []
            total += len(figure)
            correct += sum(math.dist(a, b) <= RADIUS for a, b in zip(guess, figure, strict=False))
    return correct, total
