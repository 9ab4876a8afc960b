"""The rule by which findings become a verdict.

Any critical finding: failed. Else any warning: warning. Else healthy. The reason is the message of the
first finding that decided, or how far the total loss fell.
"""

from __future__ import annotations

from collections.abc import Sequence

from trainrelay.records import Finding, Severity, Verdict


def verdict(findings: Sequence[Finding]) -> Verdict:
    """What the findings amount to."""
    critical = _of(findings, "critical")
    if critical:
        return Verdict("failed", _reason(critical, "critical"))
    warnings = _of(findings, "warning")
    if warnings:
        return Verdict("warning", _reason(warnings, "warning"))
    converged = [finding for finding in findings if finding.check == "convergence"]
    return Verdict("healthy", converged[0].message if converged else "No check found anything wrong.")


def _of(findings: Sequence[Finding], severity: Severity) -> list[Finding]:
    return [finding for finding in findings if finding.severity == severity]


def _reason(findings: list[Finding], kind: str) -> str:
    others = len(findings) - 1
    more = f" ({others} more {kind} finding{'s' if others > 1 else ''})" if others else ""
    return findings[0].message + more
