"""analysis.md: what the log of one stage shows, in the usual sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trainrelay.records import Analysis, Milestone
from trainrelay.report.escape import text
from trainrelay.report.formatting import learning_rate, number, place, sentence
from trainrelay.report.observations import Observation, finding_line, observations, outside_the_points
from trainrelay.text import count

OVERALL = {
    "healthy": "Training looks healthy.",
    "warning": "Training needs a look.",
    "failed": "Training failed its checks.",
    "not judged": "Training was not judged.",
}
# What often goes wrong -> the checks that would have found it.
ALARMS = {
    "NaN/Inf issues": {"non-finite", "clamped-infinity", "lost-term"},
    "loss spikes": {"spikes"},
    "divergence": {"divergence"},
}
POLICIES = {"cosineannealing": "CosineAnnealing"}
_SAID_BY_NAME = {"gpus", "gpu", "torch", "cuda", "backend", "ranks", "ranks printing", "host", "work_dir"}


def analysis_markdown(title: str, analysis: Analysis) -> str:
    """The Markdown of one stage's analysis, ending in a newline."""
    points = [_numbered(at, point) for at, point in enumerate(observations(analysis), start=1)]
    blocks = [
        f"## {text(title)}",
        f"**Setup**: {_setup(analysis)}",
        f"**Training Progress**: {_progress(analysis)}",
        "### Total Loss Progression",
        _progression(analysis.progression),
        "### Key Observations",
        *(points or ["Nothing to observe yet."]),
        f"**Overall**: {_overall(analysis)}",
        "`trainrelay explain LOG` prints what the numbers mean.",
    ]
    return "\n\n".join(blocks) + "\n"


def _setup(analysis: Analysis) -> str:
    setup, progress = analysis.setup, analysis.progress
    parts = [
        _gpus(setup),
        f"PyTorch {setup['torch']}" if "torch" in setup else "",
        f"CUDA {setup['cuda']}" if "cuda" in setup else "",
        f"{setup['backend']} backend" if "backend" in setup else "",
        *_ranks(setup),
        f"{count(progress.epochs, 'epoch')} total" if progress.epochs else "",
        f"{progress.iters_per_epoch} iterations{' total' if analysis.by_iteration else '/epoch'}"
        if progress.iters_per_epoch
        else "",
        _schedule(analysis),
        f"host {setup['host']}" if "host" in setup else "",
        *(f"{key} {value}" for key, value in setup.items() if key not in _SAID_BY_NAME),
    ]
    return text(", ".join(filter(None, parts)) or "not in the log") + "."


def _gpus(setup: Mapping[str, str]) -> str:
    if "gpu" not in setup:
        return f"{setup['gpus']} GPUs" if "gpus" in setup else ""
    many = setup.get("gpus", "1")
    return f"{many}x {setup['gpu']} GPU{'' if many == '1' else 's'}"


def _ranks(setup: Mapping[str, str]) -> Iterator[str]:
    if "ranks" in setup:
        yield f"{setup['ranks']} rank{'' if setup['ranks'] == '1' else 's'}"
    if "ranks printing" in setup:
        yield f"each line printed by {setup['ranks printing']} ranks"


def _schedule(analysis: Analysis) -> str:
    rate = analysis.metrics.get("train", {}).get("lr")
    if rate is None:
        return ""
    peak = f"peak lr={learning_rate(rate.max)}"
    found = [each.evidence.get("policy") for each in analysis.findings if each.check == "learning-rate"]
    policy = next((str(each) for each in found if each), "")
    return f"{POLICIES.get(policy, policy)} LR schedule ({peak})" if policy else peak


def _progress(analysis: Analysis) -> str:
    alarming = [each for each in analysis.findings if each.check == "progress" and each.severity != "info"]
    restarts = f"The log shows {count(analysis.restarts, 'restart')}." if analysis.restarts else ""
    died = f"{count(analysis.untrained, 'more start')} ended before training." if analysis.untrained else ""
    return " ".join(filter(None, [_where(analysis), restarts, died, *map(finding_line, alarming)]))


def _where(analysis: Analysis) -> str:
    progress = analysis.progress
    if not progress.epoch:
        return "No epoch was logged yet." if analysis.epochs_only else "No iteration was logged yet."
    where = f"**{place(analysis).capitalize()}**"
    if progress.finished:
        done = count(progress.epochs or progress.epoch, "epoch")
        if analysis.by_iteration:
            done = count(progress.iters_per_epoch or progress.iteration, "iteration")
        return f"Finished: {done}, last logged at {where}."
    done = f" (~{progress.fraction * 100:.1f}% complete overall)" if progress.fraction is not None else ""
    return f"Currently {'after' if analysis.epochs_only else 'in'} {where}{done}."


def _progression(milestones: tuple[Milestone, ...]) -> str:
    if not milestones:
        return "The log holds no total loss."
    rows = [f"| {text(each.label)} | **{number(each.value)}** |" for each in milestones]
    return "\n".join(["| Point | Total Loss |", "|---|---|", *rows])


def _numbered(at: int, point: Observation) -> str:
    note = f" ({text(point.note)})" if point.note else ""
    head = f"{at}. **{text(point.title)}**{note}:"
    if len(point.lines) == 1 and not point.summary:
        return f"{head} {point.lines[0]}"
    lead = f"{head} {point.summary}".rstrip()
    return "\n".join([lead, *(f"   - {line}" for line in point.lines)])


def _overall(analysis: Analysis) -> str:
    quiet = [f for f in outside_the_points(analysis) if f.severity == "info" and f.check != "progress"]
    parts = [
        OVERALL[analysis.verdict.kind],
        text(sentence(analysis.verdict.reason)) if analysis.verdict.kind != "healthy" else "",
        _all_clear(analysis),
        *map(finding_line, quiet),
        _blocked(analysis),
    ]
    return " ".join(filter(None, parts))


def _all_clear(analysis: Analysis) -> str:
    """What the checks looked for and did not find, as far as they had something to look at."""
    found = {finding.check for finding in analysis.findings}
    if analysis.verdict.kind == "failed":
        return ""
    absent = [words for words, checks in ALARMS.items() if not found & checks]
    return f"No {', no '.join(absent)}." if absent and analysis.total else ""


def _blocked(analysis: Analysis) -> str:
    checks = dict.fromkeys(finding.check for finding in analysis.findings if finding.blocking)
    if not checks:
        return ""
    names = text(", ".join(checks))
    return f"The checkpoint is not promoted ({names}) until you fix this or run `trainrelay accept`."
