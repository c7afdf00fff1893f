"""Run the scripts of this folder, all or those named, and print the rows of the table in README.md."""

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def rows(name: str) -> list[str]:
    return [
        f"| {f.claim} | {f.data} | {len(f.a)} | {f.difference} | {f.verdict} | `python examples/facts/{name}.py` |"
        for f in importlib.import_module(name).measure()
    ]


if __name__ == "__main__":
    every = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in ("evidence", "table"))
    for name in sys.argv[1:] or every:
        print(*rows(name), sep="\n", flush=True)
