"""Progress lines and averages, in the format that DETR made common.

A meter prints the median of its last values and, in parentheses, the mean since the epoch began.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from datetime import timedelta

import torch
from torch import Tensor

from .distributed import sum_over_ranks


class SmoothedValue:
    """A series of numbers: the last few of them, and the mean of all."""

    def __init__(self, window_size: int = 20, fmt: str = "{median:.4f} ({global_avg:.4f})"):
        self.window: deque[float] = deque(maxlen=window_size)
        self.total, self.count, self.fmt = 0.0, 0, fmt

    def update(self, value: float, n: int = 1) -> None:
        """`n`: how many things the value is a mean of."""
        self.window.append(value)
        self.total += value * n
        self.count += n

    @property
    def median(self) -> float:
        return sorted(self.window)[(len(self.window) - 1) // 2]

    @property
    def avg(self) -> float:
        return sum(self.window) / len(self.window)

    @property
    def global_avg(self) -> float:
        return self.total / self.count

    @property
    def value(self) -> float:
        return self.window[-1]

    def synchronize_between_processes(self, device: torch.device) -> None:
        """The mean becomes that of all ranks; the last values stay this rank's own."""
        self.count, self.total = sum_over_ranks([self.count, self.total], device)

    def __str__(self) -> str:
        return self.fmt.format(median=self.median, avg=self.avg, global_avg=self.global_avg, value=self.value)


def clock(seconds: float) -> str:
    """h:mm:ss, with days in front where there are any."""
    return str(timedelta(seconds=int(seconds)))


class MetricLogger:
    def __init__(self, device: torch.device, delimiter: str = "  "):
        self.meters: dict[str, SmoothedValue] = {}
        self.device, self.delimiter = device, delimiter

    def add_meter(self, name: str, meter: SmoothedValue) -> None:
        self.meters[name] = meter

    def update(self, values: dict[str, float | Tensor], n: int = 1) -> None:
        for name, value in values.items():
            self.meters.setdefault(name, SmoothedValue()).update(float(value), n)

    def synchronize_between_processes(self) -> None:
        for meter in self.meters.values():
            meter.synchronize_between_processes(self.device)

    def averages(self) -> dict[str, float]:
        return {name: meter.global_avg for name, meter in self.meters.items()}

    def __str__(self) -> str:
        return self.delimiter.join(f"{name}: {meter}" for name, meter in self.meters.items())

    def log_every(self, batches: Sized, print_freq: int, header: str) -> Iterator:
        """Hand out the batches, and print a line after every `print_freq` of them and after the last."""
        start = end = time.time()
        iter_time, data_time = SmoothedValue(fmt="{avg:.4f}"), SmoothedValue(fmt="{avg:.4f}")
        for i, batch in enumerate(batches):
            data_time.update(time.time() - end)
            yield batch
            iter_time.update(time.time() - end)
            if i % print_freq == 0 or i == len(batches) - 1:
                print(self.line(header, i, len(batches), iter_time, data_time))
            end = time.time()
        total = time.time() - start
        print(f"{header} Total time: {clock(total)} ({total / len(batches):.4f} s / it)")

    def line(self, header: str, i: int, n: int, iter_time: SmoothedValue, data_time: SmoothedValue) -> str:
        parts: Iterable[str] = [
            header,
            f"[{i:{len(str(n))}d}/{n}]",
            f"eta: {clock(iter_time.global_avg * (n - i))}",
            str(self),
            f"time: {iter_time}",
            f"data: {data_time}",
        ]
        if torch.cuda.is_available():
            parts = [*parts, f"max mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}"]
        return self.delimiter.join(parts)
