"""One epoch of training, one evaluation."""

import math
import sys

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .distributed import reduce_dict
from .losses import Criterion, Tensors
from .metric_logger import MetricLogger, SmoothedValue
from .model import Keypoints
from .pck import PCK, count_correct


def train_one_epoch(
    model: nn.Module,
    criterion: Criterion,
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    epoch: int,
    max_norm: float,
    print_freq: int,
) -> dict[str, float]:
    """The epoch's mean of everything that was logged. Exits with 1 when the loss is not finite."""
    model.train()
    logger = MetricLogger(device)
    logger.add_meter("lr", SmoothedValue(window_size=1, fmt="{value:.6f}"))
    logger.add_meter("grad_norm", SmoothedValue(window_size=1, fmt="{value:.2f}"))
    logger.add_meter("class_error", SmoothedValue(window_size=1, fmt="{value:.2f}"))
    for batch in logger.log_every(loader, print_freq, f"Epoch: [{epoch}]"):
        targets = {name: value.to(device) for name, value in batch.items()}
        losses = criterion(model(targets["image"], targets["tokens"], targets["points"]), targets)
        logged = values_to_log(losses, criterion.weight_dict)
        stop_unless_finite(logged)

        optimizer.zero_grad()
        total(losses, criterion.weight_dict).backward()
        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm if max_norm > 0 else math.inf)
        optimizer.step()

        logger.update({**logged, "lr": optimizer.param_groups[0]["lr"], "grad_norm": grad_norm})
    return finish(logger)


@torch.no_grad()
def evaluate(
    model: Keypoints, criterion: Criterion, loader: DataLoader, device: torch.device, print_freq: int
) -> dict[str, float]:
    """Losses given the true steps before, and PCK of what the model writes given the image alone."""
    model.eval()
    logger = MetricLogger(device)
    logger.add_meter("class_error", SmoothedValue(window_size=1, fmt="{value:.2f}"))
    for batch in logger.log_every(loader, print_freq, "Test:"):
        targets = {name: value.to(device) for name, value in batch.items()}
        truth = targets["tokens"], targets["points"]
        losses = criterion(model(targets["image"], *truth), targets)
        logger.update(values_to_log(losses, criterion.weight_dict))
        correct, keypoints = count_correct(model.generate(targets["image"]), truth)
        logger.update({PCK: correct / keypoints}, n=keypoints)
    return finish(logger)


def total(losses: Tensors, weights: dict[str, float]) -> Tensor:
    return sum(losses[name] * weight for name, weight in weights.items())


def values_to_log(losses: Tensors, weights: dict[str, float]) -> dict[str, float]:
    """Means over the ranks: the total, each part scaled, each part as it is."""
    unscaled = {name: value.item() for name, value in reduce_dict(losses).items()}
    scaled = {name: unscaled[name] * weight for name, weight in weights.items()}
    return {
        "loss": sum(scaled.values()),
        **scaled,
        **{f"{name}_unscaled": unscaled[name] for name in weights},
        "class_error": unscaled["class_error"],
    }


def stop_unless_finite(logged: dict[str, float]) -> None:
    """All ranks see the same mean, so all of them stop."""
    if not math.isfinite(logged["loss"]):
        print(f"Loss is {logged['loss']}, stopping training")
        print(logged, flush=True)
        sys.exit(1)


def finish(logger: MetricLogger) -> dict[str, float]:
    logger.synchronize_between_processes()
    print("Averaged stats:", logger)
    return logger.averages()
