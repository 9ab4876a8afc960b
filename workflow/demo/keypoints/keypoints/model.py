"""The model: a small CNN reads the image, a causal transformer writes the sequence, every layer predicts."""

import argparse
import math

import torch
from torch import Tensor, nn

from .scenes import CATEGORIES
from .sequence import COORD, EOS, MAX_LENGTH, PAD, TOKENS

BOS = len(TOKENS)  # the input of the first step


def cell_centres(height: int, width: int) -> Tensor:
    """Where the cells of a feature map are in the image: (H * W, 2) x, y in 0..1."""
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
    )
    return torch.stack([x, y], -1).flatten(0, 1)


class PointEmbedding(nn.Module):
    """A place in the image as sines and cosines of several wavelengths: (..., 2) -> (..., D)."""

    def __init__(self, dims: int, octaves: int = 5):
        super().__init__()
        self.octaves = octaves
        self.project = nn.Linear(4 * octaves, dims)

    def forward(self, points: Tensor) -> Tensor:
        frequency = math.pi * 2.0 ** torch.arange(self.octaves, device=points.device)
        phase = (points[..., None] * frequency).flatten(-2)
        return self.project(torch.cat([phase.sin(), phase.cos()], -1))


def block(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.GroupNorm(4, outputs), nn.ReLU()]


class Keypoints(nn.Module):
    def __init__(self, dims: int, heads: int, feedforward: int, layers: int, dropout: float):
        super().__init__()
        self.see = nn.Sequential(
            *block(3, dims // 4),
            *block(dims // 4, dims // 2, 2),
            *block(dims // 2, dims, 2),
            *block(dims, dims),
        )
        self.where = PointEmbedding(dims)
        self.token = nn.Embedding(len(TOKENS) + 1, dims)
        self.step = nn.Embedding(MAX_LENGTH, dims)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(dims, heads, feedforward, dropout, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dims)
        self.tokens = nn.Linear(dims, len(TOKENS))
        self.categories = nn.Linear(dims, len(CATEGORIES))
        self.look_for, self.look_at = nn.Linear(dims, dims), nn.Linear(dims, dims)

    def forward(self, image: Tensor, tokens: Tensor, points: Tensor) -> dict[str, Tensor]:
        """Predictions of every step from the true steps before it (teacher forcing)."""
        before = torch.cat([torch.full_like(tokens[:, :1], BOS), tokens[:, :-1]], 1)
        points_before = torch.cat([torch.zeros_like(points[:, :1]), points[:, :-1]], 1)
        return self.predict(*self.encode(image), before, points_before)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image (B, 3, H, W) -> features of its cells (B, C, D), their places (C, 2)."""
        seen = self.see(image)
        cells = cell_centres(*seen.shape[-2:]).to(image.device)
        return seen.flatten(2).transpose(1, 2) + self.where(cells), cells

    def predict(self, memory: Tensor, cells: Tensor, tokens: Tensor, points: Tensor) -> dict[str, Tensor]:
        """Steps from <bos> on, tokens (B, S) and points (B, S, 2) -> every layer's outputs (L, B, S, ..)."""
        length = tokens.shape[1]
        x = self.token(tokens.clamp(min=0)) + self.step.weight[:length]
        x = x + self.where(points) * (tokens == COORD)[..., None]
        future = nn.Transformer.generate_square_subsequent_mask(length, device=x.device)
        states = []
        for layer in self.layers:
            x = layer(x, memory, tgt_mask=future, tgt_is_causal=True)
            states.append(self.norm(x))
        h = torch.stack(states)  # (L, B, S, D)
        heat = self.look_for(h) @ self.look_at(memory).mT / math.sqrt(h.shape[-1])  # (L, B, S, C)
        return {
            "tokens": self.tokens(h),
            "points": heat.softmax(-1) @ cells,  # the heat map's centre of mass
            "categories": self.categories(h),
        }

    @torch.no_grad()
    def generate(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Greedy decoding by the last layer, nothing of the truth given: tokens (B, S), points (B, S, 2)."""
        encoded = self.encode(image)
        tokens = torch.full((len(image), 1), BOS, device=image.device)
        points = torch.zeros(len(image), 1, 2, device=image.device)
        for _ in range(MAX_LENGTH):
            ended = ((tokens == EOS) | (tokens == PAD)).any(1)
            if ended.all():
                break
            out = self.predict(*encoded, tokens, points)
            token = out["tokens"][-1, :, -1].argmax(-1).masked_fill(ended, PAD)
            tokens = torch.cat([tokens, token[:, None]], 1)
            points = torch.cat([points, out["points"][-1, :, -1:]], 1)
        return tokens[:, 1:], points[:, 1:]


def build_model(args: argparse.Namespace) -> Keypoints:
    return Keypoints(args.hidden_dim, args.nheads, args.dim_feedforward, args.dec_layers, args.dropout)
