"""Synthetic images of 1 to 3 figures with keypoints at their corners, drawn from (seed, index) alone.

Lengths are in image sides: x to the right, y down, both in 0..1. Figures are in different quarters of the
image and are listed in reading order; a figure's keypoints go clockwise from its first corner.
"""

from dataclasses import dataclass

import numpy as np

CORNERS = {  # of an upright figure of radius 1, clockwise on the screen
    "triangle": [(0.0, -1.0), (0.85, 0.5), (-0.85, 0.5)],
    "square": [(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)],
    "arrow": [(0.0, -1.0), (0.7, 0.7), (0.0, 0.2), (-0.7, 0.7)],
    "house": [(0.0, -1.0), (0.75, -0.2), (0.6, 0.8), (-0.6, 0.8), (-0.75, -0.2)],
}
CATEGORIES = tuple(CORNERS)
MAX_OBJECTS, MAX_KEYPOINTS = 3, 5
QUARTERS = np.array([(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)])  # in reading order
RADIUS = (0.14, 0.21)  # with the jitter, 0.24 at most: a figure stays in its quarter
JITTER, TILT, NOISE = 0.03, 0.4, 0.1  # image sides, radians, brightness


@dataclass(frozen=True)
class Figure:
    category: int  # index in CATEGORIES
    keypoints: np.ndarray  # (K, 2) x, y
    colour: np.ndarray  # (3,)


def make_figure(rng: np.random.Generator, centre: np.ndarray) -> Figure:
    category = int(rng.integers(len(CATEGORIES)))
    angle = rng.uniform(-TILT, TILT)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    upright = np.array(CORNERS[CATEGORIES[category]])
    place = centre + rng.uniform(-JITTER, JITTER, 2)
    return Figure(category, place + rng.uniform(*RADIUS) * upright @ turn, rng.uniform(0.5, 1.0, 3))


def make_scene(index: int, seed: int = 0) -> list[Figure]:
    """The figures of an index, the same in every process and every epoch."""
    rng = np.random.default_rng([seed, index])
    count = rng.integers(1, MAX_OBJECTS + 1)
    taken = np.sort(rng.permutation(len(QUARTERS))[:count])
    return [make_figure(rng, QUARTERS[quarter]) for quarter in taken]


def covered(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points of a grid, x (W,) and y (H, 1), are in a polygon (K, 2), by the even-odd rule: (H, W)."""
    inside = np.zeros((len(y), len(x)), dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, 0), strict=True):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (bx - ax) * (y - ay) / (by - ay))
    return inside


def draw(figures: list[Figure], size: int, rng: np.random.Generator) -> np.ndarray:
    """What a noisy camera sees, (3, size, size); each pixel is the mean of 2 x 2 points."""
    fine = (np.arange(2 * size) + 0.5) / (2 * size)
    image = rng.normal(0, NOISE, (3, size, size))
    for figure in figures:
        share = covered(figure.keypoints, fine, fine[:, None]).reshape(size, 2, size, 2).mean((1, 3))
        image += figure.colour[:, None, None] * share
    return image.astype(np.float32)
