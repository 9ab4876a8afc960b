"""Synthetic driving scenes in bird's-eye view, drawn from (seed, index) alone: no data on disk.

Metres and seconds; the ego vehicle is at the origin at t = 0, x forward, y left. A scene has a road
(parallel lane lines on a parabola, perhaps a pedestrian crossing), agents on it, and the ego's speed.
"""

from dataclasses import dataclass

import numpy as np
from mmcv.utils import Registry
from torch.utils.data import Dataset

DATASETS = Registry("driving dataset")

HALF_M, GRID = 32.0, 32  # the map reaches 32 m each way, in 32 x 32 cells of 2 m
FRAME_S = np.array([-1.0, -0.5, 0.0])  # the observed frames
STEP_S, PAST_STEPS, FUTURE_STEPS, OCC_STEPS = 0.5, 4, 6, 5
MAX_AGENTS, MAX_ELEMENTS = 6, 6
LANE_M = 4.0
CAR, TRUCK, PEDESTRIAN = range(3)
SIZE_M = np.array([[4.6, 2.0], [8.5, 2.6], [1.0, 1.0]])  # length, width by agent class
BRIGHTNESS = np.array([1.0, 1.6, 2.2])  # what the sensor returns by agent class
DIVIDER, BOUNDARY, CROSSING = range(3)

_centres = (np.arange(GRID) + 0.5) * 2 * HALF_M / GRID - HALF_M
GRID_X, GRID_Y = np.meshgrid(_centres, _centres)  # (H, W): columns are x, rows are y


@dataclass(frozen=True)
class Scene:
    """The truth. An agent's lateral coordinate is measured from the curved road's own axis."""

    kind: np.ndarray  # (A,)
    size: np.ndarray  # (A, 2) length, width
    start: np.ndarray  # (A, 2) x, lateral at t = 0
    speed: np.ndarray  # (A, 2) along x, lateral
    accel: np.ndarray  # (A,) along x, from t = 0 on: the part of the future that cannot be seen
    curvature: float  # 1/m
    lines: np.ndarray  # (L,) lateral offset of each lane line, right to left
    crossing: float | None  # x of the pedestrian crossing
    ego_speed: float
    ego_accel: float


def make_scene(index: int, seed: int = 0) -> Scene:
    """The scene of an index, the same in every process and every epoch."""
    rng = np.random.default_rng([seed, index])
    crossing = rng.uniform(8, 24) if index % 2 else None
    curvature = rng.choice([-0.01, 0.0, 0.01]) + rng.uniform(-0.002, 0.002)
    n_lanes = rng.integers(2, 5)
    ego_lane = rng.integers(0, n_lanes)
    lines = (np.arange(n_lanes + 1) - ego_lane - 0.5) * LANE_M
    ego_speed, ego_accel = rng.uniform(3, 8), rng.uniform(-0.5, 0.5)

    agents = []
    slots = [(x, lane) for x in (-20.0, -10.0, 10.0, 20.0) for lane in range(n_lanes)]
    for slot in rng.permutation(len(slots))[: rng.integers(2, 5)]:  # vehicles: at most one per slot
        x, lane = slots[slot]
        kind = TRUCK if rng.random() < 0.3 else CAR
        if lane == ego_lane:  # follows or leads the ego at its pace, so that the ego never hits it
            vx, ax = ego_speed, ego_accel
        else:
            vx, ax = rng.uniform(2, 8) * (-1 if lane > ego_lane else 1), rng.uniform(-0.5, 0.5)
        lateral = (lane - ego_lane) * LANE_M + rng.uniform(-0.3, 0.3)
        agents.append((kind, x + rng.uniform(-1, 1), lateral, vx, 0.0, ax))
    for _ in range(rng.integers(1, 3)):  # pedestrians: on the crossing or on the pavement
        side = rng.choice([lines[0] - 3, lines[-1] + 3])
        if crossing is not None and rng.random() < 0.5:
            agents.append((PEDESTRIAN, crossing, side, 0.0, -1.4 * np.sign(side), 0.0))
        else:
            agents.append((PEDESTRIAN, rng.uniform(-20, 20), side, rng.choice([-1.4, 1.4]), 0.0, 0.0))
    table = np.array(agents)
    kind = table[:, 0].astype(int)
    return Scene(
        kind=kind,
        size=SIZE_M[kind] * rng.uniform(0.9, 1.1, (len(kind), 1)),
        start=table[:, 1:3],
        speed=table[:, 3:5],
        accel=table[:, 5],
        curvature=float(curvature),
        lines=lines,
        crossing=crossing,
        ego_speed=ego_speed,
        ego_accel=ego_accel,
    )


def poses(scene: Scene, t: np.ndarray) -> np.ndarray:
    """Where the agents are at times t (T,): x, y, yaw, vx, vy as (T, A, 5)."""
    t = t[:, None]
    vx = scene.speed[:, 0] + scene.accel * t.clip(0)
    x = scene.start[:, 0] + scene.speed[:, 0] * t + 0.5 * scene.accel * t.clip(0) ** 2
    y = scene.start[:, 1] + scene.speed[:, 1] * t + 0.5 * scene.curvature * x**2
    vy = scene.speed[:, 1] + scene.curvature * x * vx
    return np.stack([x, y, np.arctan2(vy, vx), vx, vy], -1)


def ego_plan(scene: Scene) -> np.ndarray:
    """The ego's own future: x, y at each future step (F, 2), in the middle of its lane."""
    t = STEP_S * np.arange(1, FUTURE_STEPS + 1)
    x = scene.ego_speed * t + 0.5 * scene.ego_accel * t**2
    return np.stack([x, 0.5 * scene.curvature * x**2], -1)


def agent_masks(scene: Scene, pose: np.ndarray) -> np.ndarray:
    """Soft footprint of every agent at every time: pose (T, A, 5) -> (T, A, H, W) in 0..1."""
    x, y, yaw = (pose[..., i, None, None] for i in range(3))
    along = (GRID_X - x) * np.cos(yaw) + (GRID_Y - y) * np.sin(yaw)
    across = (GRID_Y - y) * np.cos(yaw) - (GRID_X - x) * np.sin(yaw)
    length, width = (scene.size[:, i, None, None] for i in range(2))
    return inside(np.abs(along) - length / 2) * inside(np.abs(across) - width / 2)


def inside(excess_m: np.ndarray) -> np.ndarray:
    """1 well inside an edge, 0 well outside, soft over half a metre, so that cells tell fractions."""
    return 1 / (1 + np.exp(np.clip(2 * excess_m, -30, 30)))


def map_elements(scene: Scene) -> tuple[list[int], np.ndarray]:
    """Class of each map element, and its mask (M, H, W): lane lines right to left, then the crossing."""
    lateral = GRID_Y - 0.5 * scene.curvature * GRID_X**2
    kinds = [BOUNDARY, *[DIVIDER] * (len(scene.lines) - 2), BOUNDARY]
    masks = [np.abs(lateral - line) <= 1.0 for line in scene.lines]
    if scene.crossing is not None:
        on_road = (lateral > scene.lines[0]) & (lateral < scene.lines[-1])
        kinds.append(CROSSING)
        masks.append(on_road & (np.abs(GRID_X - scene.crossing) <= 2.0))
    return kinds, np.stack(masks)


def mask_boxes(masks: np.ndarray) -> np.ndarray:
    """Box around each mask: (M, H, W) -> (M, 4) as cx, cy, w, h in 0..1 of the map."""
    spans = [[np.flatnonzero(mask.any(axis))[[0, -1]] + [0, 1] for axis in (0, 1)] for mask in masks]
    lo, hi = np.moveaxis(np.array(spans, dtype=float) / GRID, -1, 0)  # (M, 2) each: x, y
    return np.concatenate([(lo + hi) / 2, hi - lo], -1)


def observe(scene: Scene, pose: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a noisy sensor sees at each frame: (T, 3, H, W), channels agents, paint, road surface."""
    agents = (agent_masks(scene, pose) * BRIGHTNESS[scene.kind][:, None, None]).max(1)  # (T, H, W)
    kinds, masks = map_elements(scene)
    paint = (masks * np.array([0.5, 1.0, 1.5])[kinds][:, None, None]).max(0)
    still = np.broadcast_to(np.stack([paint, drivable(scene)]), (len(pose), 2, GRID, GRID))
    clean = np.concatenate([agents[:, None], still], 1)
    return clean + rng.normal(0, 0.15, clean.shape)


def drivable(scene: Scene) -> np.ndarray:
    """The road surface (H, W), 0 or 1."""
    lateral = GRID_Y - 0.5 * scene.curvature * GRID_X**2
    return ((lateral >= scene.lines[0]) & (lateral <= scene.lines[-1])).astype(float)


def box_code(scene: Scene, pose: np.ndarray) -> np.ndarray:
    """What the track head regresses, (T, A, 8).

    x, y in half maps; log of length and width in metres; sine and cosine of the yaw; velocity in 10 m/s.
    """
    x, y, yaw, vx, vy = np.moveaxis(pose, -1, 0)
    length, width = np.broadcast_to(np.log(scene.size), (*x.shape, 2)).transpose(2, 0, 1)
    return np.stack([x / HALF_M, y / HALF_M, length, width, np.sin(yaw), np.cos(yaw), vx / 10, vy / 10], -1)


def pad(array: np.ndarray, length: int, axis: int = 0) -> np.ndarray:
    """Zeros behind, up to `length` along `axis`."""
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, length - array.shape[axis])
    return np.pad(array, widths)


@DATASETS.register_module()
class DrivingScenes(Dataset):
    """`length` scenes as padded arrays; `flag` groups those with and without a crossing."""

    CLASSES = ("car", "truck", "pedestrian")

    def __init__(self, length: int, seed: int = 0):
        self.length, self.seed = length, seed
        self.flag = np.arange(length) % 2

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        scene = make_scene(index, self.seed)
        pose = poses(scene, FRAME_S)  # (T, A, 5)
        past_s = FRAME_S[:, None] - STEP_S * np.arange(1, PAST_STEPS + 1)
        past = poses(scene, past_s.ravel())[..., :2].reshape(len(FRAME_S), PAST_STEPS, -1, 2)
        future = poses(scene, STEP_S * np.arange(1, FUTURE_STEPS + 1))[..., :2]  # (F, A, 2)
        occupied = agent_masks(scene, poses(scene, STEP_S * np.arange(OCC_STEPS))) > 0.25
        kinds, masks = map_elements(scene)
        floats = {
            "img": observe(scene, pose, np.random.default_rng([self.seed, index, 1])),  # (T, 3, H, W)
            "gt_boxes": pad(box_code(scene, pose), MAX_AGENTS, 1),  # (T, A, 8)
            "gt_past": pad((past - pose[:, None, :, :2]).swapaxes(1, 2) / 10, MAX_AGENTS, 1),  # (T, A, P, 2)
            "gt_future": pad((future - pose[-1, :, :2]).swapaxes(0, 1), MAX_AGENTS),  # (A, F, 2) metres
            "gt_occ": pad(occupied.swapaxes(0, 1), MAX_AGENTS),  # (A, 5, H, W)
            "gt_lane_boxes": pad(mask_boxes(masks), MAX_ELEMENTS),  # (M, 4)
            "gt_lane_masks": pad(masks, MAX_ELEMENTS),  # (M, H, W)
            "gt_drivable": drivable(scene),  # (H, W)
            "ego_state": np.array([scene.ego_speed / 10, round(100 * scene.curvature)]),  # pace, command
            "gt_plan": ego_plan(scene),  # (F, 2) metres
        }
        return {
            **{key: value.astype(np.float32) for key, value in floats.items()},
            "gt_labels": pad(scene.kind, MAX_AGENTS),
            "gt_valid": np.arange(MAX_AGENTS) < len(scene.kind),
            "gt_lane_labels": pad(np.array(kinds), MAX_ELEMENTS),
            "gt_lane_valid": np.arange(MAX_ELEMENTS) < len(kinds),
        }
