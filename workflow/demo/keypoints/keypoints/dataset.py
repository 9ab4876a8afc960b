"""Scenes as batches: images with their sequences, padded to the longest of the batch."""

import argparse
import sys

import numpy as np
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, default_collate

from .scenes import draw, make_scene
from .sequence import PAD, encode

Batch = dict[str, Tensor]  # image (B, 3, H, W), tokens (B, S), points (B, S, 2), categories (B, S)
FIRST_VAL_INDEX = 1_000_000  # validation scenes are numbered from here: none is a training scene


class Scenes(Dataset):
    def __init__(self, indices: range, image_size: int, cls_tokens: bool = False):
        self.indices, self.image_size, self.cls_tokens = indices, image_size, cls_tokens

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        figures = make_scene(self.indices[i])
        noise = np.random.default_rng([self.indices[i], 1])
        return {"image": draw(figures, self.image_size, noise), **encode(figures, self.cls_tokens)}


def collate(items: list[dict[str, np.ndarray]]) -> Batch:
    batch = default_collate(items)
    length = int((batch["tokens"] != PAD).sum(1).max())
    return {key: value if key == "image" else value[:, :length] for key, value in batch.items()}


def build_loaders(args: argparse.Namespace, rank: int, world_size: int) -> tuple[DataLoader, DataLoader]:
    """This rank's share of the training and of the validation scenes."""
    val = range(FIRST_VAL_INDEX, FIRST_VAL_INDEX + args.val_images)
    return (
        build_loader(args, range(args.train_images), rank, world_size, train=True),
        build_loader(args, val, rank, world_size, train=False),
    )


def build_loader(
    args: argparse.Namespace, indices: range, rank: int, world_size: int, train: bool
) -> DataLoader:
    """A training's sampler needs `set_epoch` to reshuffle; its last batch is left out if incomplete."""
    dataset = Scenes(indices, args.image_size, args.cls_tokens)
    sampler = DistributedSampler(dataset, world_size, rank, shuffle=train, seed=args.seed)
    batches = BatchSampler(sampler, args.batch_size, drop_last=train)
    if len(batches) == 0:
        option = "--train_images" if train else "--val_images"
        sys.exit(f"{option} {len(dataset)}: too few for a batch on each of {world_size} ranks; give more")
    return DataLoader(dataset, batch_sampler=batches, collate_fn=collate, num_workers=args.num_workers)
