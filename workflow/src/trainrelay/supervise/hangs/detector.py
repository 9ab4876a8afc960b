"""When a trainer counts as hung (pure).

**Whose time.** The clock is the trainer's: it moves with the supervisor's own calls, and no call moves it by
more than 5 s. A supervisor that was away (SIGSTOP, a suspended job, a laptop asleep) therefore adds next to
nothing, however long it was away, while a trainer that is stopped alone is not excused.

**Progress** is a progress line that continues the last one (see BelievedProgress). Lines within 1 s count as
one. The pace is the longest wait between two of them within an epoch, among the last 20; waits across the end
of an epoch are kept apart. What is read just after the supervisor was away, or just began, measures nothing,
because nobody saw when it was written.

**How long without progress is allowed**, unless `hang_timeout_s` sets it:

- in the midst of an epoch: 5 times the pace, and no less than 10 min;
- before a pace is known (start-up), and once the next line would be in the next epoch (evaluation, saving,
  new data workers): 30 min, as gloo allows a collective; more where 5 times the pace or twice the longest end
  of an epoch so far is more. Never less after short epoch ends: an evaluation may come every fourth epoch
  only. Of a training by iterations, it may come at any of them.

**Steps** of the optimizers and batches, which the ranks count themselves, are progress too, and no pace: that
of the lines stays. They need no line that is understood; then 30 min are allowed, for nothing tells where an
epoch ends. Evaluation and saving make no steps, as they print no progress lines.

**Other output** (evaluation lines, progress bars) is a sign of life that restarts this time, but only up to
4 times of it: what is hung may keep complaining. If no line of the attempt was ever understood and no step
counted, no progress could be seen: output, and a checkpoint that grows, then restart this time without a
bound.

So a trainer whose progress was seen and stops is hung at the latest after 4 times the allowed time, and after
1 time where it prints nothing. A fixed limit holds for everything, start-up and evaluation too, whatever is
printed.
"""

from __future__ import annotations

from collections import deque

from trainrelay.supervise.believed_progress import BelievedProgress
from trainrelay.trainers import StepSeen

# What each of these is for: above.
MOST_PER_CALL_S = 5.0
WAITS = 20
PACE_FACTOR = 5.0
PACE_FLOOR_S = 10 * 60.0
QUIET_FLOOR_S = 30 * 60.0  # at start-up and around the end of an epoch
EPOCH_END_FACTOR = 2.0
OUTPUT_FACTOR = 4.0
# Of output without a line that is understood: it is a note, so it may come before a start-up is over.
UNKNOWN_AFTER_S = 5 * 60.0

_SAME_MOMENT_S = 1.0


class HangDetector:
    """Judges one attempt. Every call is given the same clock (`now_s`), one that never goes back."""

    def __init__(self, fixed_s: float | None) -> None:
        self._fixed_s = fixed_s
        self._now_s: float | None = None  # the supervisor's clock at the last call
        self._clock_s = 0.0  # the trainer's
        self._prompt_from_s = 0.0  # it is unknown when lines read before this were written
        self._stepped_s = self._said_s = 0.0
        self._first_said_s = float("inf")
        self._mark_s: float | None = None  # where the wait that is being measured began
        self._stride: int | None = None
        self._course = BelievedProgress()
        self._steps = 0  # that the ranks counted
        self._waits_s: deque[float] = deque(maxlen=WAITS)
        self._longest_epoch_end_s = 0.0

    @property
    def last_step(self) -> StepSeen | None:
        """The newest progress line that is believed."""
        return self._course.last

    @property
    def unknown(self) -> bool:
        """Whether it has been alive for long enough, and no line of it was understood."""
        return self.last_step is None and self._said_s - self._first_said_s >= UNKNOWN_AFTER_S

    def tick(self, now_s: float) -> None:
        """The supervisor is here; to be called several times per 5 s."""
        passed_s = 0.0 if self._now_s is None else max(0.0, now_s - self._now_s)
        if self._now_s is None or passed_s >= MOST_PER_CALL_S:
            passed_s = min(passed_s, MOST_PER_CALL_S)
            self._prompt_from_s = self._clock_s + passed_s + _SAME_MOMENT_S
            self._mark_s = None
        self._now_s = now_s
        self._clock_s += passed_s

    def stepped(self, now_s: float, seen: StepSeen) -> bool:
        """A progress line; whether it is progress, else (a copy of another rank) it is other output."""
        self.said(now_s)
        if not self._course.further(seen):
            return False
        before = self._course.before
        same_epoch = before is not None and seen.epoch == before.epoch
        if before is not None and same_epoch:
            self._stride = seen.iteration - before.iteration
        self._measure(same_epoch=same_epoch)
        self._stepped_s = self._clock_s
        return True

    def worked(self, now_s: float, steps: int) -> None:
        """The ranks did something since the last call, and have counted so many steps."""
        self.said(now_s)
        self._stepped_s, self._steps = self._clock_s, steps

    def said(self, now_s: float) -> None:
        """Any other output, or a checkpoint that grew."""
        self.tick(now_s)
        self._said_s = self._clock_s
        self._first_said_s = min(self._first_said_s, self._said_s)

    def hung(self, now_s: float) -> str | None:
        """The sentence that says so, once the trainer has been without progress for too long."""
        self.tick(now_s)
        waited_s, quiet_s = self._clock_s - self._stepped_s, self._clock_s - self._said_s
        allowed_s, because = self._allowed()
        blind = self.last_step is None and not self._steps and self._fixed_s is None
        waited_s = quiet_s if blind else waited_s
        talks = self._fixed_s is None and quiet_s <= allowed_s
        limit_s = OUTPUT_FACTOR * allowed_s if talks else allowed_s
        if waited_s <= limit_s:
            return None
        more = f", and {_spelled(limit_s)} if it keeps printing" if talks else ""
        return f"no progress for {_spelled(waited_s)} {self._since()}; {because}{more}"

    def _measure(self, *, same_epoch: bool) -> None:
        if self._clock_s < self._prompt_from_s:
            return
        if self._mark_s is None:
            self._mark_s = self._clock_s
            return
        wait_s = self._clock_s - self._mark_s
        if not same_epoch:
            self._longest_epoch_end_s = max(self._longest_epoch_end_s, wait_s)
        elif wait_s >= _SAME_MOMENT_S:
            self._waits_s.append(wait_s)
        else:
            return
        self._mark_s = self._clock_s

    def _allowed(self) -> tuple[float, str]:
        """The seconds without progress that are allowed, and why so many."""
        if self._fixed_s is not None:
            return self._fixed_s, f"hang_timeout_s allows {_spelled(self._fixed_s)}"
        pace_s = max(self._waits_s, default=0.0)
        if self._waits_s and self._in_the_midst():
            allowed_s = max(PACE_FLOOR_S, PACE_FACTOR * pace_s)
            seen = f"progress came every {_spelled(pace_s)} or sooner"
            return allowed_s, f"{seen}, so {_spelled(allowed_s)} are allowed"
        allowed_s = max(QUIET_FLOOR_S, PACE_FACTOR * pace_s, EPOCH_END_FACTOR * self._longest_epoch_end_s)
        where = "where it may evaluate" if self._by_iteration() else "around the end of an epoch"
        where = where if self._waits_s else "until its pace is known"
        where = "where only steps are known" if self._steps and self.last_step is None else where
        return allowed_s, f"{where} {_spelled(allowed_s)} are allowed"

    def _by_iteration(self) -> bool:
        return self.last_step is not None and self.last_step.by_iteration

    def _in_the_midst(self) -> bool:
        last = self.last_step
        if last is None or last.iters_per_epoch is None or self._stride is None or last.by_iteration:
            return False
        return last.iteration + self._stride <= last.iters_per_epoch

    def _since(self) -> str:
        if last := self.last_step:
            return f"since {last.place}"
        if self._steps:
            return f"since step {self._steps}"
        heard = self._fixed_s is None and self._said_s >= self._first_said_s
        return "since its last output or checkpoint (no line was understood)" if heard else "since the start"


def _spelled(seconds: float) -> str:
    amount, unit = _in_unit(seconds)
    digits = f"{amount:.0f}" if amount >= 10 else f"{amount:.1f}".removesuffix(".0")
    return f"{digits} {unit}"


def _in_unit(seconds: float) -> tuple[float, str]:
    if seconds < 100:
        return seconds, "s"
    return (seconds / 60, "min") if seconds < 6000 else (seconds / 3600, "h")
