"""The speed benchmark: `python benchmarks/speed/run.py`. Every measurement runs in a process of its own.

Results lie in ``results/<name>.json``, the tables of all of them are printed and written to ``results/tables.md``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
GROUPS = ("ours", "peers", "keras", "jax")  # variants that can share a process; the bare loop is in each
PARTS = ("noise", "augmentation", "costs", "study")
MARKS = ("<!-- speed tables -->", "<!-- end of speed tables -->")


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--case", choices=("a", "b", "c"), action="append", help="only this case (may be repeated)")
    p.add_argument("--group", choices=GROUPS, action="append", help="only these variants (may be repeated)")
    p.add_argument("--part", choices=PARTS, action="append", help="only this part (may be repeated)")
    p.add_argument("--end-to-end", action="store_true", help="cold start to trained model: auto, always, never")
    p.add_argument("--quick", action="store_true", help="3 short blocks instead of 7")
    p.add_argument("--only", action="append", default=[], help="only variants whose name holds this (may be repeated)")
    p.add_argument("--suffix", default="", help="of the names of the result files, as -h200")
    p.add_argument("--write", action="store_true", help="put the tables between the marks in ../RESULTS.md")
    p.add_argument("--tables", action="store_true", help="measure nothing, print the tables of what is there")
    return p.parse_args()


def wanted(a: argparse.Namespace) -> list[str]:
    lines = [f"{c}:{g}" for c in a.case or ("c", "a", "b") for g in a.group or GROUPS]
    if a.tables:
        return []
    only = a.case or a.group or a.part or a.end_to_end
    chosen = lines if a.case or a.group or not only else []
    chosen += a.part or (PARTS if not only else ())
    return [*chosen, *(["endtoend"] if a.end_to_end else [])]


def measured(what: str, a: argparse.Namespace) -> None:
    blocks, seconds = (3, 0.3) if a.quick else (7, 1.5)
    path = RESULTS / f"{what.replace(':', '-')}{a.suffix}.json"
    paths = [str(HERE.parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
    backend = {"keras": "torch", "jax": "jax"}.get(what.partition(":")[2], "")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p), "TF_CPP_MIN_LOG_LEVEL": "3"}
    env |= {"KERAS_BACKEND": backend} if backend else {}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "worker.py"), what, str(blocks), str(seconds), str(path), *a.only],
        check=False, env=env, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    ended = "" if done.returncode == 0 else " FAILED"
    print(f"{what}: {time.perf_counter() - began:.0f} s{ended}", file=sys.stderr, flush=True)


def main() -> None:
    a = arguments()
    RESULTS.mkdir(exist_ok=True)
    for what in wanted(a):
        measured(what, a)
    from table import tables

    text = tables(RESULTS, a.suffix)
    (RESULTS / f"tables{a.suffix}.md").write_text(text, encoding="utf-8")
    print(text)
    if a.write:
        written(text)


def written(text: str) -> None:
    """The tables in the place of those that RESULTS.md has."""
    path = HERE.parent / "RESULTS.md"
    before, _, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    path.write_text(f"{before}{MARKS[0]}\n{text}{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
