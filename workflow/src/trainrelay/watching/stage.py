"""One stage watched over time: what each look reads, and what it keeps from the looks before."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from trainrelay.errors import UserError
from trainrelay.records import AttemptRecord
from trainrelay.supervise import Observer, read_events
from trainrelay.training import state
from trainrelay.training.attempts import attempt_log, left_running
from trainrelay.training.context import StageContext
from trainrelay.training.state import Facts
from trainrelay.watching.log import LogSamples
from trainrelay.watching.lost import Reached, iterations_lost, reached
from trainrelay.watching.row import Sampled, StageRow, row, unreadable
from trainrelay.watching.standing import Standing, standing


@dataclass(slots=True)
class StageWatch:
    """One observer of one stage. `clock` is monotonic, for what moves; `now` tells Unix time."""

    at: StageContext
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    observer: Observer = field(init=False)
    _log: LogSamples | None = None
    _attempt: str | None = None  # whose log that is: the tag
    _ends: dict[str, Reached] = field(default_factory=dict)  # of ended attempts, by tag

    def __post_init__(self) -> None:
        self.observer = Observer(self.at.paths.supervision, clock=self.clock)

    def look(self) -> StageRow:
        """The stage at this moment; its row names damaged files."""
        try:
            return self._look()
        except UserError as error:
            return unreadable(self.at.run, self.at.stage, str(error))

    def _look(self) -> StageRow:
        facts = state.read(self.at)
        judged = state.judge(facts)
        reason, shown = judged.reason, standing(judged.kind, self.observer.look())
        if not shown.live and (left := left_running(facts.paths.folder, facts.attempts)):
            what = f"its supervisor died, but what it started still runs here: {', '.join(map(str, left))}"
            how = f"to end it, run: trainrelay stop {facts.name}"
            reason = f"{what}; the next start follows it if it trains; {how}"
            shown = Standing("orphaned", live=False)
        lost = iterations_lost(facts.attempts, self._known_ends(facts))
        event = next(reversed(read_events(facts.paths.supervision)), None)
        return row(facts, reason, shown, self._sampled(facts), lost=lost, event=event, now_s=self.now())

    def _sampled(self, facts: Facts) -> Sampled:
        """What the newest attempt's log says."""
        if not facts.attempts:
            return Sampled()
        if self._log is None or facts.attempts[-1].tag != self._attempt:
            self._change_to(facts, facts.attempts[-1])
        assert self._log is not None
        self._log.look()
        step = self._log.step.counted(facts.attempts[-1].epoch_bases) if self._log.step else None
        return Sampled(step, tuple(self._log.losses), self._log.iterations_per_s)

    def _change_to(self, facts: Facts, attempt: AttemptRecord) -> None:
        if self._log is not None:
            self._log.close()
        self._log, self._attempt = self._samples_of(facts, attempt), attempt.tag

    def _samples_of(self, facts: Facts, attempt: AttemptRecord) -> LogSamples:
        log = attempt_log(facts.paths.folder, attempt)
        return LogSamples(log, self.at.trainer, self.clock)

    def _known_ends(self, facts: Facts) -> dict[int, Reached]:
        """Where each attempt but the newest ended, by number; one whose end nobody saw is asked its log."""
        for attempt in facts.attempts[:-1]:
            if attempt.tag not in self._ends and (end := reached(attempt) or self._said(facts, attempt)):
                self._ends[attempt.tag] = end
        return {one.number: self._ends[one.tag] for one in facts.attempts if one.tag in self._ends}

    def _said(self, facts: Facts, attempt: AttemptRecord) -> Reached:
        log = self._samples_of(facts, attempt)
        log.look()
        log.close()
        step = log.step.counted(attempt.epoch_bases) if log.step else None
        return (step.epoch, step.iteration, step.iters_per_epoch) if step else (1, 0, None)
