"""Runs in the trainer's Python (3.8 or newer; nothing of ours is there): what imports, in which version.

Started with `-c`, so that modules are found as the trainer finds them. Its arguments are the modules to
import and, after a word `--`, the modules that need only be there. Each answer is a line behind a mark,
written at once: of one that hangs the last line tells where.
"""

import importlib
import importlib.util
import json
import platform
import sys

MARK = "trainrelay-check "


def tell(kind: str, name: str, answer: object = None) -> None:
    """One answer."""
    sys.stdout.write("\n" + MARK + json.dumps([kind, name, answer]) + "\n")
    sys.stdout.flush()


def tell_import(name: str) -> None:
    """Imports a module and tells its version, or why it does not import."""
    tell("importing", name)
    try:
        module = importlib.import_module(name)
    except BaseException as error:  # noqa: BLE001  also SystemExit, from a module that is not what it seems
        tell("error", name, type(error).__name__ + ": " + str(error)[:500])
        return
    tell("version", name, str(getattr(module, "__version__", "")))
    if name == "torch":
        tell("version", "cuda", str(module.version.cuda or getattr(module.version, "hip", None) or ""))


def tell_presence(name: str) -> None:
    """Tells whether a module could be imported."""
    try:
        found = importlib.util.find_spec(name) is not None
    except BaseException:  # noqa: BLE001  the package above it does not import
        found = False
    tell("there", name, found)


def main(words: "list[str]") -> None:
    """Answers all that was asked."""
    tell("version", "python", platform.python_version())
    split = words.index("--")
    for word in words[:split]:
        tell_import(word)
    for word in words[split + 1 :]:
        tell_presence(word)
    tell("end", "")


if __name__ == "__main__":
    main(sys.argv[1:])
