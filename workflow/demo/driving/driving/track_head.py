"""Tracks: queries start on a grid, are given agents in the first frame, and follow them through the rest."""

import torch
from torch import Tensor, nn

from .decoder import DecoderLayer, mlp
from .losses import Tensors, class_targets, focal_loss, greedy_match
from .scenes import HALF_M, PAST_STEPS, STEP_S

CODE_WEIGHTS = (4.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)  # of the box code, see scenes.box_code


class TrackHead(nn.Module):
    def __init__(
        self, dims: int, num_layers: int = 6, num_classes: int = 3, loss_past_traj_weight: float = 0.0
    ):
        super().__init__()
        self.past_weight = loss_past_traj_weight
        side = torch.linspace(-0.875, 0.875, 8)
        anchors = torch.cartesian_prod(side, side)  # (Q, 2): one query every 8 m
        self.register_buffer("anchors", anchors)
        self.query = nn.Embedding(len(anchors), dims)
        self.layers = nn.ModuleList(DecoderLayer(dims) for _ in range(num_layers))
        self.cls = nn.ModuleList(nn.Linear(dims, num_classes) for _ in range(num_layers))
        self.box = nn.ModuleList(mlp(dims, dims, 8) for _ in range(num_layers))
        self.past = nn.ModuleList(mlp(dims, dims, 2 * PAST_STEPS) for _ in range(num_layers))
        self.register_buffer("code_weights", torch.tensor(CODE_WEIGHTS))
        for head in self.cls:
            nn.init.constant_(head.bias, -2.0)  # most queries are background

    def forward(self, bevs: list[Tensor], gt: Tensors) -> tuple[Tensors, Tensors]:
        """Losses of every frame and layer, and the last frame's queries, references and scores."""
        B = len(bevs[0])
        query = self.query.weight.expand(B, -1, -1)  # (B, Q, D)
        ref = self.anchors.expand(B, -1, -1)  # (B, Q, 2)
        match = greedy_match(torch.cdist(ref, gt["gt_boxes"][:, 0, :, :2]), gt["gt_valid"])  # (B, A)
        losses = {}
        for frame, bev in enumerate(bevs):
            layers = []
            for i, layer in enumerate(self.layers):
                query = layer(query, ref, bev)
                code = self.box[i](query)  # (B, Q, 8), the centre relative to the reference
                code = torch.cat([ref + 0.25 * code[..., :2], code[..., 2:]], -1)
                layers.append((self.cls[i](query), code, self.past[i](query)))
                ref = code[..., :2].detach().clamp(-1, 1)
            stacked = map(torch.stack, zip(*layers, strict=True))  # logits, code, past: (L, B, Q, ..)
            values = self.losses(*stacked, frame, match, gt)
            for i in range(len(self.layers)):
                losses.update({f"frame_{frame}_{name}_{i}": value[i] for name, value in values.items()})
            scores = layers[-1][0].sigmoid()
            outs = {"query": query, "ref": ref, "code": code, "scores": scores, "match": match}
            moved = ref + code[..., 6:].detach() * 10 * STEP_S / HALF_M  # where it will be in the next frame
            ref = moved.clamp(-1, 1)
        return losses, outs

    def losses(
        self, logits: Tensor, code: Tensor, past: Tensor, frame: int, match: Tensor, gt: Tensors
    ) -> Tensors:
        """Losses of one frame, each (L,), from all layers' predictions (L, B, Q, ..)."""
        valid = gt["gt_valid"]
        n = valid.sum().clamp(min=1)
        boxes, pasts = gt["gt_boxes"][:, frame][valid], gt["gt_past"][:, frame][valid]  # (N, 8), (N, P, 2)
        row, slot = valid.nonzero(as_tuple=True)
        code, past = code[:, row, match[row, slot]], past[:, row, match[row, slot]]  # (L, N, 8), (L, N, 2 P)
        classes = class_targets(match, gt["gt_labels"], valid, *logits.shape[-2:])  # (B, Q, C)
        return {
            "loss_cls": 2.0 * focal_loss(logits, classes.expand_as(logits)) / n,
            "loss_bbox": 0.5 * ((code - boxes).abs() * self.code_weights).sum((1, 2)) / n,
            "loss_past_trajs": self.past_weight * (past - pasts.flatten(1)).abs().sum((1, 2)) / n,
        }
