"""Evaluation after every `interval` epochs: each rank takes its share of scenes, rank 0 logs the mean."""

import torch
from mmcv.runner import HOOKS, Hook
from torch.utils.data import DataLoader

from .detector import mean_over_ranks
from .losses import Tensors, gather_queries
from .scenes import HALF_M

TOP = 10
UNITS = {"motion.min_ade": "motion/min_ade_m", "planning.loss_ade": "planning/l2_m"}


def score(losses: Tensors, outs: Tensors, gt: Tensors) -> Tensors:
    """Figures of merit of one batch.

    Recall within 2 m by the TOP best tracks, IoU of the road, and in stage 2 path errors in metres.
    """
    best = outs["scores"].amax(-1).topk(TOP).indices  # (B, TOP)
    centres = gather_queries(outs["code"], best)[..., :2]
    distance = HALF_M * torch.cdist(gt["gt_boxes"][:, -1, :, :2], centres)  # (B, A, TOP)
    found = distance.amin(-1) < 2.0  # (B, A)
    road, truth = outs["drivable"] > 0.5, gt["gt_drivable"] > 0.5
    return {
        "track/recall": found[gt["gt_valid"]].float().mean(),
        "map/drivable_iou": (road & truth).sum() / (road | truth).sum(),
        **{name: losses[key] for key, name in UNITS.items() if key in losses},
    }


@HOOKS.register_module()
class EvalScenesHook(Hook):
    """Writes into the runner's log buffer, so that every logger shows it as `Epoch(val)`."""

    def __init__(self, dataloader: DataLoader, interval: int):
        self.dataloader, self.interval = dataloader, interval

    @torch.no_grad()
    def after_train_epoch(self, runner: object) -> None:
        if not self.every_n_epochs(runner, self.interval):
            return
        model = runner.model.module
        model.eval()
        rows = [score(*model(**data), data) for data in self.dataloader]
        model.train()
        means = {name: torch.stack([row[name] for row in rows]).mean() for name in rows[0]}
        runner.log_buffer.output.update(mean_over_ranks(means))
        runner.log_buffer.output["eval_iter_num"] = len(self.dataloader)
        runner.log_buffer.ready = True
