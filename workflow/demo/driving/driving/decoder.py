"""The bird's-eye-view encoder, and the decoder layer that tracks, map and forecasts share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class BEVEncoder(nn.Module):
    """Noisy frames -> one feature map per frame; each map also sees the map of the frame before."""

    def __init__(self, channels: int, dims: int):
        super().__init__()
        self.see = nn.Sequential(
            *(nn.Conv2d(channels + 2, dims, 3, padding=1), nn.GroupNorm(4, dims), nn.ReLU()),
            *(nn.Conv2d(dims, dims, 3, padding=1), nn.GroupNorm(4, dims), nn.ReLU()),
        )
        self.remember = nn.Sequential(
            *(nn.Conv2d(2 * dims, dims, 3, padding=1), nn.GroupNorm(4, dims), nn.ReLU()),
        )

    def forward(self, img: Tensor) -> list[Tensor]:
        B, T, _, H, W = img.shape
        y, x = torch.meshgrid(torch.linspace(-1, 1, H), torch.linspace(-1, 1, W), indexing="ij")
        where = torch.stack([x, y]).expand(B, T, 2, H, W)
        seen = self.see(torch.cat([img, where], 2).flatten(0, 1)).unflatten(0, (B, T))  # (B, T, D, H, W)
        bevs, bev = [], seen[:, 0]
        for t in range(T):
            bev = seen[:, t] + self.remember(torch.cat([seen[:, t], bev], 1))
            bevs.append(bev)
        return bevs  # T of (B, D, H, W)


class DecoderLayer(nn.Module):
    """Queries talk to each other, look at a few points of the map around their reference, and think."""

    def __init__(self, dims: int, heads: int = 4, points: int = 4):
        super().__init__()
        self.points = points
        self.where = mlp(2, dims, dims)
        self.talk = nn.MultiheadAttention(dims, heads, batch_first=True)
        self.offset = nn.Linear(dims, 2 * points)
        self.look = nn.Linear(points * dims, dims)
        self.think = mlp(dims, 2 * dims, dims)
        self.norms = nn.ModuleList(nn.LayerNorm(dims) for _ in range(3))
        nn.init.normal_(self.offset.bias, std=0.5)  # start by looking at different points

    def forward(self, query: Tensor, ref: Tensor, bev: Tensor, ignore: Tensor | None = None) -> Tensor:
        """query (B, Q, D), ref (B, Q, 2) in -1..1, bev (B, D, H, W), ignore (B, Q) padding -> (B, Q, D)."""
        where = self.where(ref)
        q = query + where
        query = self.norms[0](query + self.talk(q, q, q, key_padding_mask=ignore, need_weights=False)[0])
        q = query + where
        offset = 0.2 * self.offset(q).tanh().unflatten(-1, (self.points, 2))  # (B, Q, P, 2)
        seen = F.grid_sample(bev, ref[:, :, None] + offset, align_corners=False)  # (B, D, Q, P)
        query = self.norms[1](query + self.look(seen.transpose(1, 2).flatten(2)))
        return self.norms[2](query + self.think(query))
