"""Losses and matching. Each loss takes only what is real: padding is masked out by the caller."""

import torch
import torch.nn.functional as F
from torch import Tensor

Tensors = dict[str, Tensor]  # by name: a batch, or losses


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss, summed over queries and classes and the batch: (..., B, Q, C) -> (...)."""
    p = logits.sigmoid()
    miss = (1 - p) * targets + p * (1 - targets)
    weight = (alpha * targets + (1 - alpha) * (1 - targets)) * miss**gamma
    return (weight * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")).sum((-3, -2, -1))


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus the soft Dice overlap of each mask: (..., H, W) -> (...)."""
    p = logits.sigmoid()
    return 1 - (2 * (p * targets).sum((-2, -1)) + 1) / ((p**2 + targets**2).sum((-2, -1)) + 1)


def giou_loss(a: Tensor, b: Tensor) -> Tensor:
    """One minus the generalised IoU of boxes cx, cy, w, h: (..., 4) -> (...)."""
    a_lo, a_hi = a[..., :2] - a[..., 2:] / 2, a[..., :2] + a[..., 2:] / 2
    b_lo, b_hi = b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2
    inter = (torch.minimum(a_hi, b_hi) - torch.maximum(a_lo, b_lo)).clamp(min=0).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - inter
    hull = (torch.maximum(a_hi, b_hi) - torch.minimum(a_lo, b_lo)).prod(-1)
    return 1 - inter / union + (hull - union) / hull


@torch.no_grad()
def greedy_match(cost: Tensor, valid: Tensor) -> Tensor:
    """Give each target the cheapest free query, cheapest pair first: cost (B, Q, N) -> query (B, N).

    Targets that are padding (`valid` (B, N) is False) are served last.
    """
    batch, _, targets = cost.shape
    cost = cost.masked_fill(~valid[:, None], 1e6)
    match, rows = cost.new_zeros(batch, targets, dtype=torch.long), torch.arange(batch)
    for _ in range(targets):
        best = cost.flatten(1).argmin(1)
        query, target = best // targets, best % targets
        match[rows, target] = query
        cost[rows, query, :] = torch.inf
        cost[rows, :, target] = torch.inf
    return match


def gather_queries(x: Tensor, match: Tensor) -> Tensor:
    """The matched rows: x (B, Q, ...) and match (B, N) -> (B, N, ...)."""
    return x[torch.arange(len(x))[:, None], match]


def class_targets(match: Tensor, labels: Tensor, valid: Tensor, queries: int, classes: int) -> Tensor:
    """One-hot targets for every query (B, Q, C); unmatched queries are background (all zero)."""
    targets = torch.zeros(len(match), queries, classes)
    row, slot = valid.nonzero(as_tuple=True)
    targets[row, match[row, slot], labels[row, slot]] = 1
    return targets
