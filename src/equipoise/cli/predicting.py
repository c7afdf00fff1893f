"""`equipoise predict`."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

from ..errors import EquipoiseError
from . import show


def predict_command(
    folder: str, file: str, samples: int | None, model: str | None, out: str | None, json_: bool
) -> None:
    from ..combined import load

    run = load(folder, model=model)
    rows = run.predict(read_inputs(Path(file), run.signature), samples)
    names = [str(c) for c in run.signature.classes] if run.signature.classes else list(run.signature.targets)
    if json_:
        show.emit_json([dict(zip(names, map(float, r), strict=True)) for r in rows])
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([f"{v:.6g}" for v in r] for r in rows)
    if out:
        from ..files import write_text

        write_text(out, text.getvalue())
    else:
        sys.stdout.write(text.getvalue())


def read_inputs(path: Path, signature: Any) -> Any:
    """Inputs of a .npz (array x, or its first) or .csv (columns by the number of features; the target may be there)."""
    import numpy as np

    if not path.is_file():
        raise EquipoiseError(f"{path} is not there: give a .npz or .csv file with the inputs.")
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as f:
                return f["x" if "x" in f.files else f.files[0]]
        except Exception as e:  # the decoders raise a dozen kinds for damaged bytes; none of them is ours
            raise EquipoiseError(
                f"{path} is no readable .npz ({type(e).__name__}): give an array x of inputs."
            ) from None
    return _table(path, signature)


def _table(path: Path, signature: Any) -> Any:
    import pandas as pd

    try:
        frame = pd.read_csv(path, skipinitialspace=True)
    except (OSError, ValueError, pd.errors.ParserError, UnicodeDecodeError) as e:
        raise EquipoiseError(f"{path} is no readable .csv ({type(e).__name__}).") from None
    frame = frame.drop(columns=[c for c in signature.targets if c in frame.columns])
    if not len(frame):
        raise EquipoiseError(f"{path} has no rows below its header: give a row per example.")
    try:
        values = frame.to_numpy(dtype="float32")
    except (ValueError, TypeError):
        raise EquipoiseError(
            f"{path} has columns that are no numbers: give the inputs as the run was trained on."
        ) from None
    return values.reshape(len(values), *signature.shapes[0]) if values[0].size == _size(signature.shapes[0]) else values


def _size(shape: tuple[int, ...]) -> int:
    n = 1
    for s in shape:
        n *= s
    return n
