"""Data loaders: batches of one group, the same number of them on every rank, reshuffled each epoch."""

import math
import random
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from mmcv.runner import get_dist_info
from mmcv.utils import Registry
from torch.utils.data import DataLoader, Dataset, Sampler

SAMPLERS = Registry("driving sampler")


@SAMPLERS.register_module()
class DistributedGroupSampler(Sampler):
    """Each rank's share of batches whose samples share one `dataset.flag`; groups are padded by repeats."""

    def __init__(self, dataset: Dataset, samples_per_gpu: int, num_replicas: int, rank: int, seed: int = 0):
        self.flag, self.batch = dataset.flag, samples_per_gpu
        self.num_replicas, self.rank, self.seed, self.epoch = num_replicas, rank, seed, 0
        batches = sum(math.ceil(size / self.batch) for size in np.bincount(self.flag))
        self.batches = math.ceil(batches / num_replicas)  # per rank

    def __len__(self) -> int:
        return self.batches * self.batch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        batches = []
        for group in np.unique(self.flag):
            members = rng.permutation(np.flatnonzero(self.flag == group))
            padded = np.resize(members, math.ceil(len(members) / self.batch) * self.batch)
            batches.extend(padded.reshape(-1, self.batch))
        order = np.resize(rng.permutation(len(batches)), self.batches * self.num_replicas)
        for i in order[self.rank :: self.num_replicas]:
            yield from batches[i].tolist()


def build_dataloader(
    dataset: Dataset, samples_per_gpu: int, workers_per_gpu: int, sampler: dict, seed: int
) -> DataLoader:
    """One process's loader; its sampler comes from the registry."""
    rank, world_size = get_dist_info()
    where = {"samples_per_gpu": samples_per_gpu, "num_replicas": world_size, "rank": rank, "seed": seed}
    return DataLoader(
        dataset,
        batch_size=samples_per_gpu,
        sampler=SAMPLERS.build(sampler, default_args={"dataset": dataset, **where}),
        num_workers=workers_per_gpu,
        worker_init_fn=partial(seed_worker, first=seed + workers_per_gpu * rank),
    )


def seed_worker(worker: int, first: int) -> None:
    """Different random numbers in every worker of every rank, the same ones in every training."""
    random.seed(first + worker)
    np.random.seed(first + worker)
    torch.set_num_threads(1)
