"""The table at the end of a night."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

from rich.console import Console
from rich.table import Table

from tests.faults.audit import Finding, Kind
from tests.faults.evidence import Evidence, Verb

SHOWN_MAX = 40


@dataclass(frozen=True, slots=True)
class Night:
    """What happened, for the report."""

    evidence: Evidence
    lives: Mapping[str, int]
    took_s: float
    quiet_after_s: float
    """From the end of the last fault until nothing was pending any more."""
    broken: Sequence[str]
    """What the harness itself could not do."""


def show(console: Console, night: Night, findings: Sequence[Finding]) -> None:
    """Print what was done and what was found."""
    evidence = night.evidence
    console.print(f"jobs: {_counted(night.lives)}")
    console.print(f"faults: {len(evidence.faults)} of {len(kinds := Counter(f.kind for f in evidence.faults))} kinds: "
                  f"{_counted(kinds)}")  # fmt: skip
    for verb in Verb:
        console.print(_latency(verb, evidence))
    generations = len({call.record["generation"] for call in evidence.calls if call.record})
    begins = sum(len(traces.begins) for traces in evidence.traces.values())
    console.print(
        f"{generations} generations accepted, {begins} executions, {len(evidence.natives)} objects at the end"
    )
    console.print(f"quiet {night.quiet_after_s:.0f} s after the last fault; the night took {night.took_s:.0f} s")
    table = Table("finding", "expected", "found")
    found = Counter(finding.kind for finding in findings)
    for kind in Kind:
        style = "bold red" if found[kind] else "green"
        table.add_row(kind.value, "0", f"[{style}]{found[kind]}[/]")
    console.print(table)
    for finding in findings[:SHOWN_MAX]:
        console.print(str(finding), markup=False, highlight=False, soft_wrap=True)
    if len(findings) > SHOWN_MAX:
        console.print(f"and {len(findings) - SHOWN_MAX} more")
    for failure in night.broken:
        console.print(f"the harness failed: {failure}", style="red", markup=False)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _latency(verb: Verb, evidence: Evidence) -> str:
    calls = [call for call in evidence.calls if call.verb is verb]
    if len(calls) < 2:
        return f"{verb}: {len(calls)} calls"
    cuts = quantiles((call.ended_s - call.began_s for call in calls), n=100)
    codes = Counter(str(call.code or "no answer") for call in calls)
    return f"{verb}: {len(calls)} calls ({_counted(codes)}), p50 {cuts[49] * 1000:.0f} ms, p95 {cuts[94] * 1000:.0f} ms"
