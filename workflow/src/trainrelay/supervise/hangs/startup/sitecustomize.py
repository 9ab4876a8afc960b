"""Makes every rank of a trainer able to say where it is, and loads trainrelay_hook into it.

Found by Python at start-up through PYTHONPATH.

Runs inside the trainer (Python >= 3.8), before its first line, and must not be noticed there:

- It registers a faulthandler, which prints the stacks of all threads from a C signal handler, also while the
  interpreter hangs. The signal is a real-time one that nobody else uses: SIGUSR1 and all others keep their
  meaning, and a handler that the trainer installs for them is its own.
- The stacks go into a nameless file in memory, which the supervisor reads through /proc: no path to agree
  upon, no file system to hang on. Data workers made by fork inherit both.
- It loads trainrelay_hook from where that is, if its settings are named; no folder stays on sys.path.
- It takes nobody's place: the sitecustomize that Python would have found without it is run, and is the one
  that `import sitecustomize` gives. sys.path is left as it would have been.
- Whatever goes wrong here is left undone, silently; only what the other sitecustomize raises is raised.
"""

import faulthandler
import os
import sys

MEMORY_NAME = "trainrelay-stacks"  # the supervisor's dumps.py knows both
STACK_SIGNAL = 62  # SIGRTMAX - 2 on Linux


def _is_rank() -> bool:
    return "RANK" in os.environ or "TRAINRELAY_ONE_RANK" in os.environ  # the latter: no launcher started it


def _register() -> None:
    if "TRAINRELAY_ATTEMPT" not in os.environ or not _is_rank():
        return
    try:
        # The registration holds the file open for as long as the process lives.
        memory = os.fdopen(os.memfd_create(MEMORY_NAME), "wb", buffering=0)
        faulthandler.register(STACK_SIGNAL, file=memory, all_threads=True, chain=False)
    except Exception:  # noqa: BLE001, S110 - a trainer must start, whatever its Python lacks
        pass


def _load_hook() -> None:
    if "TRAINRELAY_HOOK" not in os.environ or not _is_rank():
        return
    # Beside the package trainrelay, in a checkout as where it is installed.
    beside = os.path.abspath(os.path.join(__file__, *[os.pardir] * 5))  # noqa: PTH100, PTH118
    sys.path.insert(0, beside)
    try:
        import trainrelay_hook  # noqa: PLC0415

        trainrelay_hook.start()
    except Exception:  # noqa: BLE001, S110 - as above; its note is missing then, which is reported
        pass
    finally:
        sys.path.remove(beside)


def _give_way() -> None:
    here = os.path.dirname(__file__)  # noqa: PTH120 - pathlib takes milliseconds to import
    sys.path[:] = [path for path in sys.path if path != here]
    del sys.modules[__name__]
    # Where there is no other, Python sees the same ModuleNotFoundError that it ignores without us.
    __import__(__name__)


_register()
_load_hook()
_give_way()
