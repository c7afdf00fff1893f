"""Judge recorded trainings again with other thresholds: what each would find, what it would cry wolf at.

    python -m benchmarks.doctor.calibrate calibration.jsonl TRACES dead_units.learned=0.9 update_ratio.high=0.05

Without thresholds: the doctor as it is. Meant for the calibration programs alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from equipoise import probes
from equipoise.doctor.mend import first_causes
from equipoise.probe import Finding, Measure, Probe, Trace

from .run import number
from .score import Frame, labelled, markdown, read, summary


def changed(thresholds: Mapping[str, float]) -> tuple[Probe, ...]:
    """The probes with thresholds named "probe.field"."""
    out = []
    for probe in probes.every():
        mine = {k.split(".")[1]: v for k, v in thresholds.items() if k.split(".")[0] == probe.name()}
        out.append(dataclasses.replace(probe, **mine))  # pyright: ignore[reportArgumentType]
    return tuple(out)


def findings(instruments: Sequence[Probe], measures: Sequence[Measure], trace: Trace) -> list[Finding]:
    """What the rules make of measures that were taken."""
    found = []
    for probe in instruments:
        found += probe.judge([m for m in measures if m.probe == probe.name()], trace)
    causes = first_causes(found)
    return [*causes, *(f for f in found if f not in causes)]


def judged_again(cases: Frame, traces: Path, thresholds: Mapping[str, float]) -> Frame:
    """The cases with the findings of other thresholds; nothing is trained again, so remedies are left out."""
    instruments, new = changed(thresholds), []
    for case in cases.case:
        measures, trace = pickle.loads((traces / f"{case.replace('/', '~')}.pickle").read_bytes())
        found = findings(instruments, measures, trace)
        new.append([[f.probe, f.where, number(f.value)] for f in found])
    return labelled(cases.assign(findings=pd.Series(new, index=cases.index, dtype=object), mended=float("nan")))


def main() -> None:
    parser = argparse.ArgumentParser(description="Judge recorded trainings again with other thresholds.")
    parser.add_argument("results", type=Path)
    parser.add_argument("traces", type=Path)
    parser.add_argument("thresholds", nargs="*", help="probe.field=value")
    given = parser.parse_args()
    thresholds = {k: float(v) for k, v in (t.split("=") for t in given.thresholds)}
    cases = judged_again(read(given.results), given.traces, thresholds)
    rows = [{"figure": k, "share": str(v)} for k, v in summary(cases).items() if v.n]
    print(markdown(pd.DataFrame(rows)))
    for kind, some in (("alarms", cases[cases.kind == "healthy"]), ("first", cases[cases.harmful])):
        print(f"\n{kind}\n{some[some.found].groupby(['what', 'first']).size().to_string()}")
    missed = cases[cases.harmful & ~cases.found]
    print(f"\nmissed\n{missed.groupby(['what', 'severity', 'program']).size().to_string()}")


if __name__ == "__main__":
    main()
