"""What stage 2 adds on top of tracks and map: where agents go, what they will cover, where to drive."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .decoder import DecoderLayer, mlp
from .losses import Tensors, dice_loss
from .scenes import FUTURE_STEPS, HALF_M, OCC_STEPS


class MotionHead(nn.Module):
    """Several futures per agent, each a Gaussian around a path; the best one is trained."""

    def __init__(self, dims: int, num_layers: int = 3, modes: int = 3):
        super().__init__()
        self.modes = modes
        self.mode = nn.Embedding(modes, dims)
        self.layers = nn.ModuleList(DecoderLayer(dims) for _ in range(num_layers))
        attention = [nn.MultiheadAttention(dims, 4, batch_first=True) for _ in range(num_layers)]
        self.lanes = nn.ModuleList(attention)
        self.score = nn.ModuleList(nn.Linear(dims, 1) for _ in range(num_layers))
        self.path = nn.ModuleList(mlp(dims, 2 * dims, 4 * FUTURE_STEPS) for _ in range(num_layers))

    def forward(
        self, query: Tensor, ref: Tensor, lanes: Tensor, bev: Tensor, gt: Tensors
    ) -> tuple[Tensors, Tensor]:
        """query (B, A, D) and ref (B, A, 2) of the agents, lanes (B, M, D) -> losses, query (B, A, D)."""
        B, A, _ = query.shape
        x = (query[:, :, None] + self.mode.weight).flatten(1, 2)  # (B, A * K, D)
        ref = ref.repeat_interleave(self.modes, 1)
        padding = ~gt["gt_valid"].repeat_interleave(self.modes, 1)
        layers = []
        for i, layer in enumerate(self.layers):
            x = layer(x, ref, bev, padding)
            x = x + self.lanes[i](x, lanes, lanes, need_weights=False)[0]
            scores = self.score[i](x).view(B, A, self.modes)
            paths = self.path[i](x).view(B, A, self.modes, FUTURE_STEPS, 4)
            layers.append(self.losses(scores, paths, gt))
        losses = layers.pop()
        for i, part in enumerate(layers):
            losses.update({f"d{i}.{name}": loss for name, loss in part.items()})
        return losses, x.view(B, A, self.modes, -1).mean(2)

    def losses(self, scores: Tensor, paths: Tensor, gt: Tensors) -> Tensors:
        valid = gt["gt_valid"]
        future = gt["gt_future"][valid]  # (N, F, 2) metres
        mean = 10 * paths[valid][..., :2]  # (N, K, F, 2) metres
        log_std = math.log(10) + paths[valid][..., 2:].clamp(-5, 1)
        error = (mean - future[:, None]).norm(dim=-1)  # (N, K, F) metres
        ade, best = error.mean(-1).min(1)  # (N,)
        rows = torch.arange(len(best))
        z = (future - mean[rows, best]) / log_std[rows, best].exp()
        nll = (0.5 * z**2 + log_std[rows, best]).sum(-1) + math.log(2 * math.pi)  # (N, F): may be negative
        fde = error[..., -1].min(1).values
        l_class, l_reg = F.cross_entropy(scores[valid], best), nll.mean()
        return {
            "loss_traj": 0.5 * l_class + 0.5 * l_reg + 0.25 * fde.mean(),
            "l_class": l_class,
            "l_reg": l_reg,
            "min_ade": ade.mean(),
            "min_fde": fde.mean(),
            "mr": (fde > 2.0).float().mean(),  # miss rate: the best end point is more than 2 m off
        }


class OccHead(nn.Module):
    """Which cells each agent will cover, now and in the next 2 seconds."""

    def __init__(self, dims: int):
        super().__init__()
        self.embed = mlp(3 * dims, 2 * dims, OCC_STEPS * dims)
        self.where = mlp(2, dims, dims)
        self.pixels = nn.Conv2d(dims, dims, 3, padding=1)
        self.refine = nn.Sequential(nn.ReLU(), nn.Conv2d(dims, dims, 3, padding=1))

    def forward(self, query: Tensor, ref: Tensor, bev: Tensor, gt: Tensors) -> Tensors:
        """query (B, A, 2 D), tracks and their futures; ref (B, A, 2) -> losses."""
        embed = self.embed(torch.cat([query, self.where(ref)], -1))
        embed = embed.unflatten(-1, (OCC_STEPS, -1))  # (B, A, S, D)
        coarse = self.pixels(bev)
        masked, truth, losses = gt["gt_valid"], gt["gt_occ"][gt["gt_valid"]], {}  # truth (N, S, H, W)
        for name, pixels in (("", coarse + self.refine(coarse)), ("aux_", coarse)):
            masks = torch.einsum("basd,bdhw->bashw", embed, pixels)[masked] - 3.0  # mostly empty
            losses[f"loss_{name}dice"] = dice_loss(masks, truth).mean()
            losses[f"loss_{name}mask"] = 5.0 * F.binary_cross_entropy_with_logits(masks, truth)
        return losses


class PlanningHead(nn.Module):
    """The ego's own path, from its pace, its command, the agents and the lanes; near misses cost."""

    MARGINS_M = (0.0, 0.5, 1.0)
    WEIGHTS = (2.5, 1.0, 0.25)

    def __init__(self, dims: int):
        super().__init__()
        self.ego = mlp(2, dims, dims)
        self.layer = DecoderLayer(dims)
        self.others = nn.MultiheadAttention(dims, 4, batch_first=True)
        self.path = mlp(dims, 2 * dims, 2 * FUTURE_STEPS)

    def forward(self, agents: Tensor, lanes: Tensor, bev: Tensor, gt: Tensors) -> Tensors:
        x = self.ego(gt["ego_state"])[:, None]  # (B, 1, D)
        x = self.layer(x, x.new_zeros(len(x), 1, 2), bev)
        padding = torch.cat([~gt["gt_valid"], gt["gt_valid"].new_zeros(lanes.shape[:2])], 1)
        others = torch.cat([agents, lanes], 1)
        x = x + self.others(x, others, others, key_padding_mask=padding, need_weights=False)[0]
        plan = 10 * self.path(x).view(len(x), FUTURE_STEPS, 2)  # metres
        now = HALF_M * gt["gt_boxes"][:, -1, :, None, :2]  # (B, A, 1, 2)
        gap = (plan[:, None] - now - gt["gt_future"]).norm(dim=-1)[gt["gt_valid"]]  # (N, F) metres
        losses = {
            f"loss_collision_{i}": weight * (2.0 + margin - gap).clamp(min=0).sum() / len(x)
            for i, (margin, weight) in enumerate(zip(self.MARGINS_M, self.WEIGHTS, strict=True))
        }
        return {**losses, "loss_ade": (plan - gt["gt_plan"]).norm(dim=-1).mean()}
