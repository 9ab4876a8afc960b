"""The losses of every decoder layer: tokens, coordinates, categories. Padding costs nothing."""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .sequence import COORD, PAD

Tensors = dict[str, Tensor]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the targets that are not PAD, exactly 0 where all are: (B, S, K), (B, S) -> ()."""
    total = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="sum")
    return total / (targets != PAD).sum().clamp(min=1)


class Criterion(nn.Module):
    """Unscaled losses by name; their coefficients are in `weight_dict`.

    The last layer's have plain names, the earlier layers' the suffixes _0, _1, ...
    """

    def __init__(self, coefs: dict[str, float], dec_layers: int, aux_loss: bool = True):
        super().__init__()
        self.suffixes = ["", *(f"_{i}" for i in range(dec_layers - 1) if aux_loss)]
        self.weight_dict = {name + suffix: coef for suffix in self.suffixes for name, coef in coefs.items()}

    def forward(self, outputs: Tensors, targets: Tensors) -> Tensors:
        """Outputs (L, B, S, ..) of all layers -> losses and `class_error`, the wrong tokens in percent."""
        losses = {}
        for suffix in self.suffixes:
            layer = int(suffix[1:] or -1)
            one = self.layer_losses({name: value[layer] for name, value in outputs.items()}, targets)
            losses.update({name + suffix: loss for name, loss in one.items()})
        return {**losses, "class_error": class_error(outputs["tokens"][-1], targets["tokens"])}

    @staticmethod
    def layer_losses(outputs: Tensors, targets: Tensors) -> Tensors:
        coord = targets["tokens"] == COORD
        distance = (outputs["points"][coord] - targets["points"][coord]).abs()  # (N, 2) in image sides
        return {
            "loss_ce": cross_entropy(outputs["tokens"], targets["tokens"]),
            "loss_coords": distance.sum(-1).mean(),
            "loss_ce_room": cross_entropy(outputs["categories"], targets["categories"]),
        }


@torch.no_grad()
def class_error(logits: Tensor, tokens: Tensor) -> Tensor:
    real = tokens != PAD
    return 100.0 * (logits.argmax(-1) != tokens)[real].float().mean()


def build_criterion(args: argparse.Namespace) -> Criterion:
    coefs = {
        "loss_ce": args.cls_loss_coef,
        "loss_coords": args.coords_loss_coef,
        "loss_ce_room": args.room_cls_loss_coef,
    }
    return Criterion(coefs, args.dec_layers, args.aux_loss)
