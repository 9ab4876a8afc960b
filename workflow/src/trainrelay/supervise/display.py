"""What you see while a training runs: a line now and then; `trainrelay watch` shows more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from rich.console import Console
from rich.text import Text

from trainrelay.text import printable
from trainrelay.trainers import StepSeen

PLAIN_EVERY_S = 30.0  # under 3000 lines a day


class Display:
    """Plain lines: the first step, then one at most every 30 s, and the last one of each epoch.

    `clock` in seconds, never going back. `record` is given each note, before it is shown.
    """

    def __init__(
        self,
        console: Console,
        name: str,
        epochs: int,
        clock: Callable[[], float],
        record: Callable[[str], object] = bool,
    ) -> None:
        self._console, self._name, self._epochs, self._clock = console, name, epochs, clock
        self._record, self._speed = record, Speed(clock)
        self._unsaid: StepSeen | None = None
        self._said_s = float("-inf")

    def step(self, seen: StepSeen) -> None:
        """A progress line of the trainer: shown now, later, or not at all."""
        if self._unsaid and self._unsaid.epoch != seen.epoch:
            self._say_step(self._unsaid)
        self._speed.step(seen)
        self._unsaid = seen
        if seen.iteration == seen.iters_per_epoch or self._clock() - self._said_s >= PLAIN_EVERY_S:
            self._say_step(seen)

    def note(self, sentence: str) -> None:
        """A sentence for the user, from any source: it is made printable here."""
        self._record(sentence)
        say(self._console, f"{self._name}: {sentence}")

    def close(self) -> None:
        """The end of the training; the last step, if it was not shown."""
        if self._unsaid:
            self._say_step(self._unsaid)

    def _say_step(self, seen: StepSeen) -> None:
        say(self._console, f"{self._name}: {describe(seen, self._epochs, self._speed.iterations_per_s)}")
        self._unsaid, self._said_s = None, self._clock()


class Speed:
    """Iterations per second smoothed over about three progress lines; a new epoch starts again.

    What is between two epochs counts only where nothing else is known: one may print a single line.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: tuple[int, int, float] | None = None  # epoch, iteration, time
        self.iterations_per_s: float | None = None

    def step(self, seen: StepSeen) -> None:
        """Takes the time of a progress line."""
        now_s, last = self._clock(), self._last
        if last and last[:2] == (seen.epoch, seen.iteration):
            return  # a bar that is drawn again
        before, within = self.iterations_per_s, last is not None and last[0] == seen.epoch
        done = seen.iteration - last[1] + (seen.epoch - last[0]) * (seen.iters_per_epoch or 0) if last else 0
        if last and done > 0 and now_s > last[2] and (within or (seen.iters_per_epoch and before is None)):
            speed = done / (now_s - last[2])
            self.iterations_per_s = speed if before is None else 0.7 * before + 0.3 * speed
        self._last = (seen.epoch, seen.iteration, now_s)


def describe(seen: StepSeen, epochs: int, iterations_per_s: float | None) -> str:
    """`epoch 1/6, iteration 610/3517, loss 66.16, ETA 2 d 05:46, 0.44 it/s`, less what is not known."""
    parts = [] if seen.by_iteration else [f"epoch {seen.epoch}/{epochs}"]
    parts.append(f"iteration {seen.iteration}")
    if seen.iters_per_epoch:
        parts[-1] += f"/{seen.iters_per_epoch}"
    if seen.loss is not None:
        parts.append(f"loss {seen.loss:.4g}")
    if (eta_s := left_s(seen, epochs, iterations_per_s)) is not None:
        parts.append(f"ETA {duration(eta_s)}")
    if iterations_per_s is not None:
        parts.append(f"{iterations_per_s:.2f} it/s")
    return ", ".join(parts)


def left_s(seen: StepSeen, epochs: int, iterations_per_s: float | None) -> float | None:
    """The trainer's own estimate, else one from the speed."""
    if seen.eta_s is not None or not seen.iters_per_epoch or not iterations_per_s:
        return seen.eta_s
    epochs = 1 if seen.by_iteration else epochs
    return ((epochs - seen.epoch + 1) * seen.iters_per_epoch - seen.iteration) / iterations_per_s


def duration(seconds: float) -> str:
    """`2 d 05:46` (days, hours, minutes) or `0:03:20` (hours, minutes, seconds)."""
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours_of_day = divmod(hours, 24)
    return f"{days} d {hours_of_day:02d}:{minutes:02d}" if days else f"{hours}:{minutes:02d}:{rest_s:02d}"


def say(console: Console, sentence: str) -> None:
    """One line, whatever it holds: no markup, no terminal escapes, no wrapping."""
    # A terminal that went away must not end the training; rich exits on a broken pipe.
    with suppress(OSError, SystemExit):
        console.print(Text(printable(sentence)), soft_wrap=True, highlight=False)
