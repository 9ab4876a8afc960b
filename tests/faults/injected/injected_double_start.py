"""Two commands of trainrelay, forked with all modules loaded, that start at one moment: ROUNDS ARGUMENT...

Each round begins without a training, and with the leases of those before it. Prints a JSON object a round:
`pids`, exit `statuses` and what each of the two `said`, how long each `took_s`, how many `trainers` began,
and how far `apart_s` the two started. Every other round is inside an allocation, where a start may not idle.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

from trainrelay import cli

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent
SOON_S = 0.3


def wait_and_run(number, at_s, argv):  # type: ignore[no-untyped-def]
    with (HERE / f"said-{number}").open("wb") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    while (started_s := time.monotonic()) < at_s:
        pass
    status = cli.main(argv)
    sys.stdout.flush()
    facts = {"started_s": started_s, "ended_s": time.monotonic(), "status": status}
    (HERE / f"ended-{number}").write_text(json.dumps(facts))


def forked(number, at_s, argv):  # type: ignore[no-untyped-def]
    pid = os.fork()
    if pid == 0:
        try:
            wait_and_run(number, at_s, argv)
        finally:
            os._exit(0)
    return pid


def trainers():  # type: ignore[no-untyped-def]
    path = HERE / "stamps.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in map(json.loads, lines) if line["event"] == "start"]


def played(argv, *, in_allocation):  # type: ignore[no-untyped-def]
    os.environ.pop("SLURM_JOB_ID", None)
    if in_allocation:
        os.environ["SLURM_JOB_ID"] = "7"
    shutil.rmtree(FOLDER / "runs/driving/stage1", ignore_errors=True)
    before, at_s = len(trainers()), time.monotonic() + SOON_S
    pids = [forked(number, at_s, argv) for number in (0, 1)]
    for pid in pids:
        os.waitpid(pid, 0)
    ends = [json.loads((HERE / f"ended-{number}").read_text()) for number in (0, 1)]
    return {
        "pids": pids,
        "statuses": [end["status"] for end in ends],
        "said": [(HERE / f"said-{number}").read_text() for number in (0, 1)],
        "trainers": len(trainers()) - before,
        "apart_s": abs(ends[0]["started_s"] - ends[1]["started_s"]),
        "took_s": [end["ended_s"] - end["started_s"] for end in ends],
    }


for number in range(int(sys.argv[1])):
    print(json.dumps(played(sys.argv[2:], in_allocation=number % 2 == 1)), flush=True)
