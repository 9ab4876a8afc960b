"""What keeps a rig from running, in one sentence."""


class RigError(Exception):
    """The rig cannot be booted or asked; the sentence says what to type where something helps."""


class DaemonEnded(RigError):
    """A daemon ended while the rig waited for its answer; `name` is which one."""

    def __init__(self, name: str, said: str) -> None:
        super().__init__(f"{name} ended while it started:\n{said}")
        self.name = name
