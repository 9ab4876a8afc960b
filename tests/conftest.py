"""What every test starts from."""

from __future__ import annotations

from support.signals import as_a_terminal_leaves_them


def pytest_configure() -> None:
    as_a_terminal_leaves_them()
