"""One measurement in a process of its own; its result as JSON in a file. Called by run.py."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def line(name: str, group: str, blocks: int, seconds: float) -> dict[str, Any]:
    """One case, one group of variants that can live in one process; the bare loop is in each."""
    import torch
    from bare import bare, scanned, whole_step
    from cases import CASES, flops
    from timing import alternate, machine, peak

    case = CASES[name]
    before = machine()
    top = {str(d).removeprefix("torch."): peak(case.threads, d) for d in (torch.float32, torch.bfloat16)}
    variants = [bare(case)]
    if group == "ours":
        import ours

        by_hand = [scanned(case, 64)] if name == "c" else [whole_step(case)]
        variants += [*by_hand, *ours.variants(case)]
    elif group == "peers":
        import peers

        variants += peers.variants(case)
    elif group == "jax":
        import jax_peers
        import ours

        variants += [ours.single(case), *jax_peers.jax_variants(case)]
    else:
        import jax_peers

        variants += jax_peers.keras_torch(case)
    found = alternate(variants, case.batches, blocks, seconds)
    for row in found["rows"]:
        kind = "bfloat16" if row["precision"] in ("auto", "bfloat16") and "bfloat16" in row["note"] else "float32"
        row["share of peak"] = flops(name) / (row["microseconds"] * 1e-6) / top[kind]
    facts = {"case": name, "group": group, "threads": case.threads, "batch": case.batch, "flops": flops(name)}
    return {**facts, "peak": top, "machine": {**before, "load after": machine()["load"]}, **found}


def part(name: str, blocks: int, seconds: float) -> dict[str, Any]:
    from importlib import import_module

    from timing import machine

    before = machine()
    found = import_module(name).measure(blocks, seconds)
    return {"part": name, "machine": {**before, "load after": machine()["load"]}, **found}


def main() -> None:
    what, blocks, seconds, path = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    warnings.filterwarnings("ignore")
    name, _, group = what.partition(":")
    make: Callable[[], dict[str, Any]] = (
        (lambda: line(name, group, blocks, seconds)) if group else (lambda: part(name, blocks, seconds))
    )
    Path(path).write_text(json.dumps(make(), indent=1), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # training threads wait at their gates


if __name__ == "__main__":
    main()
