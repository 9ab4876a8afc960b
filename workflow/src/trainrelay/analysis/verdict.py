"""The rule by which findings become a verdict.

Any critical finding: failed. Else any warning: warning. Else healthy. The reason is the message of the
first finding that decided, or how far the total loss fell.
"""

from __future__ import annotations

from collections.abc import Sequence

from trainrelay.analysis.numbers import count
from trainrelay.records import Finding, Severity, Verdict, VerdictKind

KINDS: dict[Severity, VerdictKind] = {"critical": "failed", "warning": "warning"}  # the gravest first


def verdict(findings: Sequence[Finding]) -> Verdict:
    """What the findings amount to."""
    for severity, kind in KINDS.items():
        found = [finding for finding in findings if finding.severity == severity]
        if found:
            more = f" ({count(len(found) - 1, f'more {severity} finding')})" if len(found) > 1 else ""
            return Verdict(kind, found[0].message + more)
    converged = [finding for finding in findings if finding.check == "convergence"]
    return Verdict("healthy", converged[0].message if converged else "No check found anything wrong.")
