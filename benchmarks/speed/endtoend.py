"""From start to trained model with cold caches: ``compile`` auto, always and never, for three lengths of training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LENGTHS = {100: 1, 3_000: 30, 100_000: 1_000}  # steps: epochs of 100
CODE = """
import json, sys
import cases, ours, dataclasses
import equipoise as eq
mode, epochs = sys.argv[1], int(sys.argv[2])
case = dataclasses.replace(cases.CASES["c"], name="short", batches=100)
cases.CASES["short"] = case
options = eq.Options(compile=mode, threads=1, progress=False)
run = eq.train(lambda: case.build(False), ours.recipe(cases.CASES["c"]), ours.data("short"), epochs=epochs,
               batch_size=case.batch, options=options)
print(json.dumps({"plan": run.record.plan, "seconds": run.record.seconds}))
"""


def cold(mode: str, epochs: int) -> dict[str, Any]:
    """A fresh process with empty caches."""
    with tempfile.TemporaryDirectory() as empty:
        caches = {k: str(Path(empty) / k.lower()) for k in ("TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME", "HOME")}
        without = {k: v for k, v in os.environ.items() if k != "EQUIPOISE_CACHE"}
        for folder in caches.values():
            Path(folder).mkdir()
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CODE, mode, str(epochs)],
            check=False, capture_output=True, text=True, env=without | caches, cwd=Path(__file__).parent,
        )  # fmt: skip
        taken = time.perf_counter() - began
    if done.returncode:
        return {"seconds": None, "failed": done.stderr.strip().splitlines()[-1:]}
    return {"seconds": taken, **json.loads(done.stdout.splitlines()[-1]), "whole": taken}


def measure(blocks: int, seconds: float) -> dict[str, Any]:
    """``auto`` may take the better of the others by at most 10 % + 1 s."""
    out: dict[str, Any] = {}
    for steps, epochs in LENGTHS.items():
        if blocks < 5 and steps > 10_000:
            continue
        taken = {mode: cold(mode, epochs) for mode in ("auto", "always", "never")}
        times = {k: v.get("whole") for k, v in taken.items()}
        known = [times[k] for k in ("always", "never") if times[k] is not None]
        fine = bool(known) and times["auto"] is not None and times["auto"] <= 1.1 * min(known) + 1.0
        out[str(steps)] = {
            "seconds": times,
            "within the bound": fine,
            "plans": {k: v.get("plan") for k, v in taken.items()},
        }
    return {"lengths": out}
