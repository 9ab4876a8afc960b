"""The grammar: figures as a sequence of tokens, and back.

One <coord> per keypoint, then a <cls> if categories are asked for; <sep> between figures, <eos> at the end.
"""

from collections.abc import Sequence

import numpy as np

from .scenes import MAX_KEYPOINTS, MAX_OBJECTS, Figure

TOKENS = ("<coord>", "<sep>", "<eos>", "<cls>")
COORD, SEP, EOS, CLS = range(len(TOKENS))
PAD = -1  # behind <eos>; no loss sees it
MAX_LENGTH = MAX_OBJECTS * (MAX_KEYPOINTS + 2)


def encode(figures: Sequence[Figure], cls_tokens: bool) -> dict[str, np.ndarray]:
    """Padded tokens (L,), points (L, 2) under <coord>, categories (L,) under <cls>, else PAD."""
    tokens = np.full(MAX_LENGTH, PAD)
    points = np.zeros((MAX_LENGTH, 2), dtype=np.float32)
    categories = np.full(MAX_LENGTH, PAD)
    at = 0
    for figure in figures:
        end = at + len(figure.keypoints)
        tokens[at:end], points[at:end] = COORD, figure.keypoints
        if cls_tokens:
            tokens[end], categories[end] = CLS, figure.category
        at = end + 1 + cls_tokens
        tokens[at - 1] = SEP
    tokens[at - 1] = EOS
    return {"tokens": tokens, "points": points, "categories": categories}


def decode(tokens: Sequence[int], points: Sequence[Sequence[float]]) -> list[list[Sequence[float]]]:
    """The keypoints of each figure, up to <eos>."""
    figures = [[]]
    for token, point in zip(tokens, points, strict=True):
        if token == EOS:
            break
        if token == SEP:
            figures.append([])
        elif token == COORD:
            figures[-1].append(point)
    return figures
