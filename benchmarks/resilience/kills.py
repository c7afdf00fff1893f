"""Training killed (SIGKILL) at random moments, resumed, and compared byte by byte with training that was left alone.

Every technique of the catalogue is trained alone (`train`), and in groups that share a network (`train_many`); some are
studied (`study`); all in processes that are killed again and again, each time at a moment drawn uniformly from the
length of an undisturbed run. Equal means: every tensor of the weights and the state, the history and the recipe of
every run, bit for bit; of a study, everything it says and the scores of every run.

    python benchmarks/resilience/kills.py                  # at least 200 kills over the whole catalogue
    python benchmarks/resilience/kills.py --kills 20       # a slice, drawn by --seed

Prints a Markdown table and one line in sum; exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from equipoise import techniques as T
from equipoise.study import load_study
from tests.contract_cases import case
from tests.killing import Failed, Job, Killer, differences
from tests.study.small import said, small

GROUP = 3  # techniques of one `train_many`


@dataclass(frozen=True)
class StudyJob:
    """A study of these techniques against none of them, in all of its phases."""

    techniques: tuple[str, ...]

    def __str__(self) -> str:
        return " + ".join(self.techniques)

    def run(self, out: Path, resume: bool) -> None:
        small(out=out, resume=resume, epochs=6, techniques=",".join(self.techniques))


@dataclass
class Row:
    """One job: kills that met it alive, and what differs in the end."""

    job: Any
    kills: int
    differ: list[str]

    def __str__(self) -> str:
        how = "train" if len(self.job.techniques) == 1 else "train_many"
        how = "study" if isinstance(self.job, StudyJob) else how
        return f"| {self.job} | {how} | {self.kills} | {'equal' if not self.differ else ', '.join(self.differ)} |"


STUDIES = [StudyJob(t) for t in (("He", "WeightDecay(0.1)"), ("BatchNorm", "EMA"), ("MixUp", "EarlyStopping"))]


def jobs() -> list[Any]:
    """Every technique alone, all that share a network and data in groups, and a few studies."""
    alone = [Job((name,)) for name in T.names()]
    by_case: dict[object, list[str]] = {}
    for name in T.names():
        by_case.setdefault(case(T.find(name)), []).append(name)
    groups = [tuple(names[i::3][:GROUP]) for names in by_case.values() for i in range(3)]
    return [*alone, *(Job(g) for g in dict.fromkeys(groups) if len(g) > 1), *STUDIES]


def measure(job: Any, killer: Killer, kills: int, folder: Path) -> Row:
    """Train once undisturbed, once with kills; compare."""
    landed = 0
    try:
        span = killer.finish(job, folder / "whole", resume=False)
        landed = killer.kill(job, folder / "killed", kills, span)
        killer.finish(job, folder / "killed", resume=True)
    except Failed as e:
        return Row(job, landed, [str(e)])
    if isinstance(job, StudyJob):
        whole, killed = (said(load_study(folder / name)) for name in ("whole", "killed"))
        return Row(job, landed, [] if whole == killed else ["study.sqlite"])
    return Row(job, landed, differences(folder / "whole", folder / "killed"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="at least so many, where the time allows")
    parser.add_argument("--each", type=int, default=4, help="kills of one job, at most")
    parser.add_argument("--seconds", type=float, default=3600.0, help="start no job after so long")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    todo, whole = jobs(), given.kills >= 200
    if not whole:
        random.Random(given.seed).shuffle(todo)
    killer, rows, began = Killer(given.seed), list[Row](), time.monotonic()
    print("| techniques | call | kills | result |\n|---|---|---|---|")
    for job in todo:
        enough = sum(r.kills for r in rows) >= given.kills and not whole
        if enough or time.monotonic() - began > given.seconds:
            break
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(job, killer, given.each, Path(folder)))
        print(rows[-1], flush=True)
    kills, differ = sum(r.kills for r in rows), sum(bool(r.differ) for r in rows)
    covered = {name for r in rows if isinstance(r.job, Job) for name in r.job.techniques}
    print(
        f"\n{kills} kills of {len(rows)} recipes or groups with {len(covered)} of {len(T.names())} techniques in "
        f"{time.monotonic() - began:.0f} s: {len(rows) - differ} equal, {differ} differ."
    )
    return 1 if differ or not kills else 0


if __name__ == "__main__":
    sys.exit(main())
