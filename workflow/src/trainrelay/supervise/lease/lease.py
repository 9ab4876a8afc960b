"""A lease that is held: it beats, and knows when it is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from trainrelay.errors import Fenced, UserError
from trainrelay.supervise.lease.claim import Beat, Claim, owner_of
from trainrelay.supervise.lease.folder import claim_file, highest, read_claim, write_beat

Say = Callable[[str], None]

_LAST_BEAT_S = 10.0  # for a beat that is being written while the lease is released


class Lease:
    """The right to train a stage, from `acquire` to `release` or until another supervisor takes it over.

    It beats in its own thread, because a beat says that this process is there, whatever its main thread
    is busy with: reading a checkpoint, a probe, a trainer's grace. A process that is suspended beats no more.
    `owner` is the id of the claim, which a request to stop names; `lost` says why this process must write
    nothing more, None while the lease is ours, as of the last beat. `taken_from` is the former owner where it
    may still live: then its work dir must not be written to. The caller writes that down and calls `begin`,
    because the next supervisor does not learn it.
    """

    def __init__(self, folder: Path, claim: Claim, name: str, say: Say) -> None:
        self.token, self.owner, self.taken_from = claim.token, claim.owner, claim.taken_from
        self.folder, self._claim, self._name, self._say = folder, claim, name, say
        self._counter, self._began = 0, False
        self.lost: str | None = None
        self._trouble = False
        self._ended = threading.Event()
        self._beater = threading.Thread(target=self._beat_on, name="lease", daemon=True)

    def start(self) -> None:
        """The first beat now, the others from a thread."""
        self._beat()
        self._beater.start()

    def begin(self) -> None:
        """What a former owner may do is written down; raises Fenced if the lease is lost already."""
        self.guard()
        self._began = True
        self._beat()

    def guard(self) -> None:
        """Call it before each write: looks now, and raises Fenced if the lease is lost."""
        self._look()
        if self.lost is not None:
            raise Fenced(self.lost)

    def release(self) -> None:
        """Tells the next supervisor that it need not wait; a lost lease is left alone. Never raises."""
        self._ended.set()
        if self._beater.is_alive():
            self._beater.join(_LAST_BEAT_S)
        if not self._beater.is_alive():
            self._beat(released=True)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _beat_on(self) -> None:
        while not self._ended.wait(self._claim.beat_s) and self.lost is None:
            self._beat()

    def _beat(self, *, released: bool = False) -> None:
        # A disk that is full or away for a while does not cost the lease: only a claim of another does.
        try:
            self._look()
            if self.lost is None:
                self._counter += 1
                beat = Beat(owner=self.owner, counter=self._counter, began=self._began, released=released)
                write_beat(self.folder, self.token, beat)
            self._trouble = False
        except (OSError, UserError) as error:
            if not self._trouble:
                self._trouble = True
                self._say(f"warning: cannot renew the lease: {error}; retrying")

    def _look(self) -> None:
        """Notes whether the lease is lost, which it then stays."""
        if self.lost is not None:
            return
        top = highest(self.folder)
        if top > self.token:
            who = "another supervisor"
            with suppress(UserError):
                who = owner_of(taker) if (taker := read_claim(self.folder, top)) else who
            self.lost = (
                f"{self._name}: {who} took this stage over while this supervisor (lease {self.token}) did not"
                " respond or its job was given up by Slurm, so this one writes nothing more; the training"
                " continues there, check it with: trainrelay plan"
            )
        elif (claim := read_claim(self.folder, self.token)) is None or claim.owner != self.owner:
            self.lost = (
                f"{self._name}: {claim_file(self.folder, self.token)}, the lease of this supervisor, was"
                " moved, deleted or replaced, so it writes nothing more; run: snakemake --profile local"
            )
