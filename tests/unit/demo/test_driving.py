"""The driving demo: its scenes, its sampler, and the names and laws of its losses."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

CHECKOUT = Path(__file__).resolve().parents[3] / "workflow" / "demo" / "driving"
sys.path.insert(0, str(CHECKOUT))
from driving import scenes  # noqa: E402
from driving.detector import DrivingModel  # noqa: E402
from driving.loader import DistributedGroupSampler  # noqa: E402
from driving.losses import giou_loss, greedy_match  # noqa: E402
from mmcv import Config  # noqa: E402

STAGES = {
    "stage1": CHECKOUT / "projects/configs/stage1_track_map/track_map.py",
    "stage2": CHECKOUT / "projects/configs/stage2_e2e/e2e.py",
}


def uniad_track_map_keys(frames: int, layers: int) -> list[str]:
    """What UniAD logs in stage 1, in its order, by the number of frames and of decoder layers."""
    track = [
        f"track.frame_{f}_loss_{name}_{i}"
        for f in range(frames)
        for i in range(layers)
        for name in ("cls", "bbox", "past_trajs")
    ]
    final = [f"map.loss_{name}" for name in ("cls", "bbox", "iou", "mask_things", "mask_stuff")]
    boxes = [f"map.d{i}.loss_{name}" for i in range(layers - 1) for name in ("cls", "bbox", "iou")]
    things = [
        f"map.d{i}.loss_{name}_f" for i in range(layers - 2) for name in ("mask_things", "iou", "bbox", "cls")
    ]
    stuff = [f"map.d{i}.loss_{name}_f" for i in range(layers) for name in ("mask_stuff", "cls_stuff")]
    return [*track, *final, *things, *stuff, *boxes]


def uniad_end_to_end_keys(frames: int, layers: int) -> list[str]:
    """What UniAD logs in stage 2: the same, and motion, occupancy and planning."""
    motion = [
        f"motion.{layer}{name}"
        for layer in ("", "d0.", "d1.")
        for name in ("loss_traj", "l_class", "l_reg", "min_ade", "min_fde", "mr")
    ]
    occ = [f"occ.loss_{name}" for name in ("dice", "mask", "aux_dice", "aux_mask")]
    planning = [f"planning.loss_{name}" for name in ("collision_0", "collision_1", "collision_2", "ade")]
    return [*uniad_track_map_keys(frames, layers), *motion, *occ, *planning]


def build(stage: str) -> DrivingModel:
    torch.manual_seed(0)
    model = dict(Config.fromfile(str(STAGES[stage])).model)
    assert model.pop("type") == "DrivingModel"
    return DrivingModel(**model)


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    dataset = scenes.DrivingScenes(length=4)
    return default_collate([dataset[i] for i in range(4)])


@pytest.fixture(scope="module", params=STAGES)
def stepped(request, batch):
    """One training step of a stage: (stage, model before, model after, what train_step returned)."""
    before, model = build(request.param), build(request.param)
    out = model.train_step(batch, None)
    out["loss"].backward()
    torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2).step()
    return request.param, before, model, out


# ------------------------------------------------------------------------------- scenes


@pytest.mark.parametrize("index", [0, 1, 17])
def test_a_scene_is_the_same_each_time_it_is_drawn(index):
    first, again = (scenes.DrivingScenes(length=20, seed=3)[index] for _ in range(2))
    assert first.keys() == again.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key], err_msg=key)


def test_different_indices_and_seeds_give_different_scenes():
    images = [scenes.DrivingScenes(length=2, seed=s)[i]["img"] for s in (0, 1) for i in (0, 1)]
    for i in range(4):
        for j in range(i):
            assert not np.allclose(images[i], images[j])


@pytest.mark.parametrize("index", range(40))
def test_agents_stay_on_the_map_and_their_speed_is_their_motion(index):
    scene = scenes.make_scene(index)
    pose = scenes.poses(scene, scenes.FRAME_S)
    assert np.abs(pose[..., :2]).max() < scenes.HALF_M
    h = 1e-4
    moved = (
        scenes.poses(scene, scenes.FRAME_S + h)[..., :2] - scenes.poses(scene, scenes.FRAME_S - h)[..., :2]
    )
    np.testing.assert_allclose(moved / (2 * h), pose[..., 3:], atol=1e-3)


@pytest.mark.parametrize("index", range(20))
def test_targets_are_plausible(index):
    scene, item = scenes.make_scene(index), scenes.DrivingScenes(length=20)[index]
    agents = item["gt_valid"].sum()
    assert 3 <= agents <= scenes.MAX_AGENTS
    assert item["img"].shape == (3, 3, 32, 32)
    np.testing.assert_allclose(
        item["gt_boxes"][:, :agents, 2:4], np.log(scene.size)[None].repeat(3, 0), rtol=1e-5
    )
    # half a second ago, by the past of the last frame and by the frame before it
    centre = item["gt_boxes"][..., :2] * scenes.HALF_M
    np.testing.assert_allclose(centre[2] + 10 * item["gt_past"][2, :, 0], centre[1], atol=1e-3)
    # a vehicle covers the cell that it stands in
    col, row = np.floor(centre[2, :agents].T / 2 + 16).astype(int)
    covered = item["gt_occ"][np.arange(agents), 0, row, col] == 1
    assert covered[scene.kind != scenes.PEDESTRIAN].all()
    # the box of a map element holds exactly the columns and rows of its mask
    for slot in range(item["gt_lane_valid"].sum()):
        mask, (cx, cy, w, h) = item["gt_lane_masks"][slot], 32 * item["gt_lane_boxes"][slot]
        for axis, (middle, length) in enumerate(((cx, w), (cy, h))):
            inside = np.flatnonzero(mask.any(axis))
            assert (middle - length / 2, middle + length / 2) == pytest.approx((inside[0], inside[-1] + 1))
    # the ego drives forward, in its own lane
    assert (np.diff(item["gt_plan"][:, 0], prepend=0) > 0).all()
    assert np.abs(item["gt_plan"][:, 1] - 0.5 * scene.curvature * item["gt_plan"][:, 0] ** 2).max() < 1e-3


# ------------------------------------------------------------------------------- sampler


@pytest.mark.parametrize(("length", "world_size"), [(24, 2), (23, 2), (7, 3), (1, 2)])
def test_all_scenes_are_seen_and_all_ranks_have_equal_counts(length, world_size):
    dataset = scenes.DrivingScenes(length)
    samplers = [DistributedGroupSampler(dataset, 4, world_size, rank) for rank in range(world_size)]
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {len(samplers[0])}
    assert {index for share in shares for index in share} == set(range(length))


def test_every_batch_is_of_one_group():
    dataset = scenes.DrivingScenes(23)
    for rank in range(2):
        share = np.array(list(DistributedGroupSampler(dataset, 4, 2, rank))).reshape(-1, 4)
        assert (np.ptp(dataset.flag[share], axis=1) == 0).all()


def test_set_epoch_shuffles_anew_and_repeatably():
    sampler = DistributedGroupSampler(scenes.DrivingScenes(24), 4, 2, 0)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert first == list(sampler) != second


# ------------------------------------------------------------------------------- losses


def test_the_logged_names_are_exactly_uniads_in_its_order(stepped):
    stage, _, _, out = stepped
    keys = uniad_track_map_keys if stage == "stage1" else uniad_end_to_end_keys
    assert list(out["log_vars"]) == [*keys(frames=3, layers=6), "loss"]


def test_the_total_is_the_sum_of_every_key_with_loss_in_it(stepped):
    values = dict(stepped[3]["log_vars"])
    total = values.pop("loss")
    assert total == pytest.approx(sum(v for key, v in values.items() if "loss" in key), rel=1e-4)


def test_past_trajectories_cost_nothing_in_stage_1_and_something_in_stage_2(stepped):
    stage, _, _, out = stepped
    past = [value for key, value in out["log_vars"].items() if "loss_past_trajs" in key]
    assert len(past) == 18
    assert all((value == 0) == (stage == "stage1") for value in past)


def test_exactly_the_losses_that_are_zero_by_design_are_zero(stepped):
    by_design = {f"map.d{i}.loss_{name}_f" for i in range(4) for name in ("iou", "bbox", "cls")}
    zero = {key for key, value in stepped[3]["log_vars"].items() if value == 0 and "loss" in key}
    assert {key for key in zero if "past_trajs" not in key and "collision" not in key} == by_design


def test_the_encoder_learns_in_stage_1_and_is_frozen_in_stage_2(stepped):
    stage, before, after, _ = stepped
    pairs = list(zip(before.bev_encoder.parameters(), after.bev_encoder.parameters(), strict=True))
    assert len(pairs) > 0
    assert all(torch.equal(a, b) == (stage == "stage2") for a, b in pairs)


def test_stage_2_takes_every_weight_of_stage_1():
    taken = build("stage2").load_state_dict(build("stage1").state_dict(), strict=False)
    assert taken.unexpected_keys == []
    assert {key.split(".")[0] for key in taken.missing_keys} == {"motion_head", "occ_head", "planning_head"}


def test_training_on_one_batch_lowers_the_loss(batch):
    model = build("stage1")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model.train_step(batch, None)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_matching_gives_each_target_its_own_query_cheapest_pair_first():
    cost = torch.tensor(
        [[[1.0, 2.0, 0.0], [3.0, 9.0, 0.0], [5.0, 4.0, 0.0]]]
    )  # (1, Q, N); the last is padding
    valid = torch.tensor([[True, True, False]])
    assert greedy_match(cost, valid).tolist() == [[0, 2, 1]]


def test_giou_loss_is_zero_for_equal_boxes_and_above_one_for_boxes_apart():
    box = torch.tensor([0.3, 0.3, 0.2, 0.2])
    same, apart = giou_loss(box, box), giou_loss(box, box + torch.tensor([0.5, 0.5, 0.0, 0.0]))
    assert same == pytest.approx(0, abs=1e-6)
    assert apart > 1
