"""The lane map: things (lane lines, crossings) are boxes and masks, stuff (the road surface) is a mask.

A mask head follows the box decoder; its auxiliary losses end in `_f`, and those for class, box and IoU
are 0 by design, because the box decoder already has them.
"""

import torch
from torch import Tensor, nn

from .decoder import DecoderLayer, mlp
from .losses import Tensors, class_targets, dice_loss, focal_loss, gather_queries, giou_loss, greedy_match


class MapHead(nn.Module):
    def __init__(self, dims: int, num_queries: int = 12, num_layers: int = 6, num_classes: int = 3):
        super().__init__()
        self.query = nn.Embedding(num_queries, dims)
        self.start = nn.Parameter(torch.linspace(-1.5, 1.5, num_queries)[:, None] * torch.tensor([0.0, 1.0]))
        self.layers = nn.ModuleList(DecoderLayer(dims) for _ in range(num_layers))
        self.cls = nn.ModuleList(nn.Linear(dims, num_classes) for _ in range(num_layers))
        self.box = nn.ModuleList(mlp(dims, dims, 4) for _ in range(num_layers))
        self.things = nn.ModuleList(mlp(dims, dims, dims) for _ in range(num_layers - 1))
        self.stuff_query = nn.Embedding(1, dims)
        self.stuff = nn.ModuleList(mlp(2 * dims, dims, dims) for _ in range(num_layers))
        self.stuff_cls = nn.ModuleList(nn.Linear(dims, 1) for _ in range(num_layers))
        self.stuff_final = mlp(dims, dims, dims)
        self.pixels = nn.Sequential(nn.Conv2d(dims, dims, 3, padding=1), nn.ReLU(), nn.Conv2d(dims, dims, 1))
        for head in self.cls:
            nn.init.constant_(head.bias, -2.0)

    def forward(self, bev: Tensor, gt: Tensors) -> tuple[Tensors, Tensors]:
        B, L = len(bev), len(self.layers)
        pixels = self.pixels(bev)  # (B, D, H, W)
        query = self.query.weight.expand(B, -1, -1)  # (B, Q, D)
        ref = self.start.expand(B, -1, -1)  # (B, Q, 2) logits of cx, cy
        layers, embeds = [], []
        for i, layer in enumerate(self.layers):
            query = layer(query, 2 * ref.sigmoid() - 1, bev)  # (B, Q, D)
            box = self.box[i](query)  # (B, Q, 4) logits, the centre relative to the reference
            box = torch.cat([ref + box[..., :2], box[..., 2:]], -1)
            layers.append((self.cls[i](query), box.sigmoid()))
            if i > 0:  # the mask head has one layer less
                embeds.append(self.things[i - 1](query))
            ref = box[..., :2].detach()
        boxes, match = self.box_losses(*map(torch.stack, zip(*layers, strict=True)), gt)
        *things, last_things = self.mask_losses(torch.stack(embeds), pixels, match[1:], gt)
        stuff, drivable = self.stuff_losses(bev, pixels, gt)

        losses = {name: values[-1] for name, values in boxes.items()}  # in the order of UniAD's log lines
        losses.update(loss_mask_things=last_things, loss_mask_stuff=stuff["loss_mask_stuff"])
        for i, loss in enumerate(things):
            losses[f"d{i}.loss_mask_things_f"] = loss
            losses.update({f"d{i}.loss_{name}_f": bev.new_zeros(()) for name in ("iou", "bbox", "cls")})
        losses.update(stuff)
        losses.update({f"d{i}.{name}": values[i] for i in range(L - 1) for name, values in boxes.items()})
        return losses, {"query": query, "drivable": drivable}

    def box_losses(self, logits: Tensor, box: Tensor, gt: Tensors) -> tuple[Tensors, Tensor]:
        """Losses, each (L,), from all layers' predictions (L, B, Q, ..), and the match (L, B, M)."""
        L, B, Q, C = logits.shape
        boxes, labels = gt["gt_lane_boxes"].repeat(L, 1, 1), gt["gt_lane_labels"].repeat(L, 1)
        valid = gt["gt_lane_valid"].repeat(L, 1)  # (L * B, M)
        n = gt["gt_lane_valid"].sum().clamp(min=1)
        p = logits.sigmoid().flatten(0, 1).gather(2, labels[:, None].expand(-1, Q, -1))  # (L * B, Q, M)
        match = greedy_match(5 * torch.cdist(box.flatten(0, 1), boxes, p=1) - 2 * p, valid)  # (L * B, M)
        classes = class_targets(match, labels, valid, Q, C).unflatten(0, (L, B))
        mine, true = gather_queries(box.flatten(0, 1), match)[valid], boxes[valid]  # (L * N, 4)
        return {
            "loss_cls": 2.0 * focal_loss(logits, classes) / n,
            "loss_bbox": 5.0 * (mine - true).abs().view(L, -1).sum(1) / n,
            "loss_iou": 2.0 * giou_loss(mine, true).view(L, -1).sum(1) / n,
        }, match.unflatten(0, (L, B))

    def mask_losses(self, embed: Tensor, pixels: Tensor, match: Tensor, gt: Tensors) -> Tensor:
        """Dice of every thing's mask, (L,), from embed (L, B, Q, D) and match (L, B, M)."""
        row, slot = gt["gt_lane_valid"].nonzero(as_tuple=True)
        layer = torch.arange(len(embed))[:, None]
        chosen = embed[layer, row, match[:, row, slot]]  # (L, N, D)
        masks = torch.einsum("lnd,ndhw->lnhw", chosen, pixels[row])
        return 2.0 * dice_loss(masks, gt["gt_lane_masks"][row, slot].expand_as(masks)).mean(1)

    def stuff_losses(self, bev: Tensor, pixels: Tensor, gt: Tensors) -> tuple[Tensors, Tensor]:
        """Refine one query for the road surface: each layer looks at what its last mask covers."""
        query = self.stuff_query.weight.expand(len(bev), -1)  # (B, D)
        seen, masks, classes = bev.mean((2, 3)), [], []
        present = gt["gt_drivable"].amax((1, 2))[:, None]  # (B, 1)
        for layer, cls in zip(self.stuff, self.stuff_cls, strict=True):
            query = query + layer(torch.cat([query, seen], 1))
            masks.append(torch.einsum("bd,bdhw->bhw", query, pixels))
            classes.append(cls(query))  # (B, 1)
            seen = torch.einsum("bhw,bdhw->bd", masks[-1].flatten(1).softmax(1).view_as(masks[-1]), bev)
        masks.append(torch.einsum("bd,bdhw->bhw", self.stuff_final(query), pixels))
        logits = torch.stack(classes)[:, :, None]  # (L, B, 1, 1)
        *auxiliary, final = 2.0 * dice_loss(torch.stack(masks), gt["gt_drivable"]).mean(1)
        loss_cls = 2.0 * focal_loss(logits, present[:, None].expand_as(logits)) / len(bev)
        losses = {"loss_mask_stuff": final}
        for i, loss in enumerate(auxiliary):
            losses.update({f"d{i}.loss_mask_stuff_f": loss, f"d{i}.loss_cls_stuff_f": loss_cls[i]})
        return losses, masks[-1].sigmoid()
