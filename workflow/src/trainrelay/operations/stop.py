"""`trainrelay stop`: a running training ends resumably, whichever machine it runs on."""

from __future__ import annotations

import time
from contextlib import suppress

from trainrelay import supervise
from trainrelay.errors import Interrupted, Refusal, UserError
from trainrelay.operations.held_lease import held_lease
from trainrelay.operations.train import stage_job
from trainrelay.supervise import (
    LastOwner,
    Observer,
    StageEvent,
    ask_to_stop,
    order_file,
    owner_of,
    read_events,
)
from trainrelay.system.say import answer, say
from trainrelay.training import state
from trainrelay.training.attempts import left_running
from trainrelay.training.context import StageContext
from trainrelay.training.plan import resumes

_LOOK_S = 0.5  # what you wait at a terminal
_SAY_S = 10.0  # between two lines that it still waits: you see that it lives, and the screen does not fill
_REACTS_WITHIN_S = 90.0  # the grace of its trainer, and as much again to look and to write


def stop_stage(at: StageContext, reacts_within_s: float = _REACTS_WITHIN_S) -> None:
    """End what trains a stage, wherever it is, and print its state then."""
    stopped = _Stop(at, reacts_within_s).stopped()
    facts = state.read(at)
    judged = state.judge(facts)
    nothing = f"nothing to stop: {at.name} is {judged.kind}: {judged.reason}"
    answer(_state_after(facts, judged) if stopped else nothing)


class _Stop:
    """One stop, from the first look at the lease to the end of who holds it."""

    def __init__(self, at: StageContext, reacts_within_s: float) -> None:
        self._at, self.name, self._supervision = at, at.name, at.paths.supervision
        self._reacts_within_s = reacts_within_s
        self._observer = Observer(self._supervision)
        self._told = read_events(self._supervision)[-1:]
        self._sign_s = self._said_s = time.monotonic()

    def stopped(self) -> bool:
        """Whether something was stopped; False where nothing ran."""
        seen = self._observer.look()
        if seen is not None and seen.concluded.kind in ("alive", "unsure"):
            self._ask(seen)
            return True
        return self._ended_orphan()

    def _ask(self, seen: LastOwner) -> None:
        ask_to_stop(self._supervision, seen.claim.owner)
        say(f"{self.name}: asked {owner_of(seen.claim)} to stop; it ends the trainer, then itself")
        self._sign_s = self._said_s = time.monotonic()
        try:
            self._wait(seen.claim.owner)
        except KeyboardInterrupt:
            raise Interrupted(
                f"{self.name}: no longer waiting; the stop request stays ({order_file(self._supervision)}),"
                f" so it stops anyway; to follow it, run: trainrelay watch {self.name}"
            ) from None

    def _wait(self, owner: str) -> None:
        """Returns once this owner has given the lease back, or its trainer was ended without it."""
        while (seen := self._observer.look()) is not None and seen.concluded.kind != "released":
            self._relay()
            if seen.claim.owner != owner:
                raise Refusal(
                    f"{self.name}: not stopped: {owner_of(seen.claim)} took the stage over meanwhile; to stop"
                    f" that one, run: trainrelay stop {self.name}"
                )
            if seen.concluded.kind == "dead":
                return self._left_alone(seen)
            self._be_patient(seen)
            time.sleep(min(_LOOK_S, seen.claim.beat_s / 4))
        self._relay()
        return None

    def _relay(self) -> None:
        """Says what the supervisor said since the last time."""
        events = read_events(self._supervision)
        for event in events[_first_new(events, self._told) :]:
            say(f"{self.name}: {event.text}")
            self._sign_s = self._said_s = time.monotonic()
        self._told = events[-1:]

    def _be_patient(self, seen: LastOwner) -> None:
        now_s = time.monotonic()
        if now_s - self._sign_s >= self._reacts_within_s:
            raise UserError(
                f"{self.name}: {owner_of(seen.claim)} has not reacted for {now_s - self._sign_s:.0f} s"
                f" ({seen.concluded.reason}); the stop request stays;"
                f" {supervise.what_to_run(seen.claim, seen.process)}"
            )
        if now_s - self._said_s >= _SAY_S:
            self._said_s = now_s
            say(f"{self.name}: still waiting: {seen.concluded.reason}")

    def _left_alone(self, seen: LastOwner) -> None:
        """Its supervisor died while we waited."""
        if seen.process != "gone":
            raise UserError(
                f"{self.name}: {owner_of(seen.claim)} cannot be heard: {seen.concluded.reason}; the stop"
                " request stays, so it stops if it comes back; if it does not, the next snakemake takes the"
                " stage over"
            )
        self._ended_orphan()

    def _ended_orphan(self) -> bool:
        """Ends a trainer on this host whose supervisor died; False if there is none.

        UserError where a supervisor that holds no lease, or one of another host, may be at work.
        """
        facts = state.read(self._at)
        if not left_running(facts.paths.folder, facts.attempts):
            if not facts.alive:
                return False
            attempt = facts.attempts[-1]
            raise UserError(
                f"{self.name}: nobody holds its lease, so nobody would read a request, but attempt"
                f" {attempt.number} is open on {attempt.host}; if it still runs there, run on that host:"
                f" kill {attempt.supervisor_pid}; if not, the next start takes the stage over"
            )
        number = facts.attempts[-1].number
        say(f"{self.name}: the supervisor of attempt {number} died; ending the trainer that it left")

        def tell(sentence: str) -> None:
            say(sentence)
            with suppress(OSError):
                supervise.add_event(self._supervision, sentence, number)

        with held_lease(facts.at):
            supervise.close_open_attempts(stage_job(facts), tell)
        return True


def _first_new(events: list[StageEvent], told: list[StageEvent]) -> int:
    """Where the events begin that were not told yet."""
    return next((place + 1 for place in reversed(range(len(events))) if [events[place]] == told), 0)


def _state_after(facts: state.Facts, judged: state.State) -> str:
    """The state of a stage after the stop, and what to run to resume."""
    name = facts.name
    if judged.kind == "complete":
        return f"{name} was complete before it was to stop: {judged.reason}"
    if judged.kind not in ("resumable", "fresh"):
        return f"{name} does not run any more; it is {judged.kind}: {judged.reason}"
    where = f"resumes {where}" if (where := resumes(facts)) else "starts from its beginning"
    return f"{name} is stopped: {judged.reason}. It {where}: run the same snakemake command again."
