"""One measurement in a process of its own; its result as JSON in a file. Called by run.py."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any


def line(name: str, group: str, blocks: int, seconds: float, path: Path, only: list[str]) -> None:
    """One case, one group of variants that can live in one process; the bare loop is in each."""
    import torch
    from bare import bare
    from cases import CASES, flops
    from timing import alternate, machine, peak

    case = CASES[name]
    before = machine()
    top = {str(d).removeprefix("torch."): peak(case.threads, d) for d in (torch.float32, torch.bfloat16)}
    variants = [v for v in _variants(case, group) if not only or any(word in v.name for word in only)]
    facts = {"case": name, "group": group, "threads": case.threads, "batch": case.batch, "flops": flops(name)}

    def save(found: dict[str, Any]) -> None:
        for row in found["rows"]:
            kind = "bfloat16" if row["precision"] in ("auto", "bfloat16") and "bfloat16" in row["note"] else "float32"
            row["share of peak"] = flops(name) / (row["microseconds"] * 1e-6) / top[kind]
        write(path, {**facts, "peak": top, "machine": {**before, "load after": machine()["load"]}, **found})

    alternate([bare(case), *variants], case.batches, blocks, seconds, save)


def _variants(case: Any, group: str) -> list[Any]:
    if group == "ours":
        import ours
        from bare import scanned, whole_step

        return [scanned(case, 64) if case.name == "c" else whole_step(case), *ours.variants(case)]
    if group == "peers":
        import peers

        return peers.variants(case)
    import jax_peers

    if group == "keras":
        return jax_peers.keras_torch(case)
    import ours

    return [ours.single(case), *jax_peers.jax_variants(case)]


def part(name: str, blocks: int, seconds: float, path: Path) -> None:
    from importlib import import_module

    from timing import machine

    before = machine()
    found = import_module(name).measure(blocks, seconds)
    write(path, {"part": name, "machine": {**before, "load after": machine()["load"]}, **found})


def write(path: Path, found: dict[str, Any]) -> None:
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")


def main() -> None:
    what, blocks, seconds, path, *only = sys.argv[1:]
    warnings.filterwarnings("ignore")
    name, _, group = what.partition(":")
    if group:
        line(name, group, int(blocks), float(seconds), Path(path), only)
    else:
        part(name, int(blocks), float(seconds), Path(path))
    sys.stdout.flush()
    os._exit(0)  # trainings are held at their gates


if __name__ == "__main__":
    main()
