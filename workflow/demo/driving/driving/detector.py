"""The whole model: encoder -> tracks -> map, and in stage 2 -> motion -> occupancy -> planning."""

from collections import OrderedDict

import torch
import torch.distributed as dist
from mmcv.runner import BaseModule
from mmcv.utils import Registry
from torch import Tensor

from .decoder import BEVEncoder
from .forecast_heads import MotionHead, OccHead, PlanningHead
from .losses import Tensors, gather_queries
from .map_head import MapHead
from .track_head import TrackHead

DETECTORS = Registry("driving detector")


@DETECTORS.register_module()
class DrivingModel(BaseModule):
    def __init__(
        self,
        dims: int = 32,
        end_to_end: bool = False,
        freeze_bev_encoder: bool = False,
        loss_past_traj_weight: float = 0.0,
    ):
        super().__init__()
        self.bev_encoder = BEVEncoder(3, dims)
        self.track_head = TrackHead(dims, loss_past_traj_weight=loss_past_traj_weight)
        self.seg_head = MapHead(dims)
        self.end_to_end = end_to_end
        if end_to_end:
            self.motion_head = MotionHead(dims)
            self.occ_head = OccHead(dims)
            self.planning_head = PlanningHead(dims)
        if freeze_bev_encoder:
            self.bev_encoder.requires_grad_(False)

    def forward(self, img: Tensor, **gt: Tensor) -> tuple[Tensors, Tensors]:
        """Losses by UniAD's names, and what an evaluation needs."""
        bevs = self.bev_encoder(img)  # T of (B, D, H, W)
        track, tracks = self.track_head(bevs, gt)
        seg, lanes = self.seg_head(bevs[-1], gt)
        losses = {"track": track, "map": seg}
        if self.end_to_end:
            agents = gather_queries(tracks["query"], tracks["match"])  # (B, A, D)
            ref = gather_queries(tracks["ref"], tracks["match"])  # (B, A, 2)
            losses["motion"], futures = self.motion_head(agents, ref, lanes["query"], bevs[-1], gt)
            losses["occ"] = self.occ_head(torch.cat([agents, futures], -1), ref, bevs[-1], gt)
            losses["planning"] = self.planning_head(futures, lanes["query"], bevs[-1], gt)
        named = {
            f"{task}.{name}": torch.nan_to_num(loss)
            for task, part in losses.items()
            for name, loss in part.items()
        }
        return named, {"code": tracks["code"], "scores": tracks["scores"], "drivable": lanes["drivable"]}

    def train_step(self, data: Tensors, optimizer: object) -> dict[str, object]:  # noqa: ARG002
        """One step as mmcv's runner asks for it; the optimizer hook does the rest."""
        losses, _ = self(**data)
        loss = sum(value for name, value in losses.items() if "loss" in name)
        log_vars = mean_over_ranks({**losses, "loss": loss})
        return {"loss": loss, "log_vars": log_vars, "num_samples": len(data["img"])}


def mean_over_ranks(values: Tensors) -> OrderedDict[str, float]:
    """Plain numbers, the same on every rank, in one message."""
    stacked = torch.stack([value.detach() for value in values.values()])
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(stacked.div_(dist.get_world_size()))
    return OrderedDict(zip(values, stacked.tolist(), strict=True))
