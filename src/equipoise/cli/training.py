"""`equipoise train`."""

from __future__ import annotations

import json
from typing import Any

from . import setting, show


def train_command(data: str, flags: dict[str, Any]) -> None:
    from ..programs import warnings_for
    from ..train import train

    s = setting.resolved(data, flags)
    path, finished = setting.folder(flags, s.data.name, "run.json")
    if finished:
        saved = json.loads((path / "run.json").read_text(encoding="utf-8"))
        _show(saved, path, flags)
        return
    if not flags["quiet"]:
        show.lines((f"warning: {w}" for w in warnings_for(s.recipe, s.data)), to_error=True)
    run = train(
        s.model, s.recipe, s.data, epochs=s.epochs, batch_size=flags["batch_size"], seed=flags["seed"],
        options=setting.options(flags),
    )  # fmt: skip
    run.record.command = setting.command()
    run.record.model = s.model
    scores = {split: run.score(split) for split in ("assess", "test")}
    run.save(path, scores)
    _show(run.to_dict(scores, path.name), path, flags, run.notes)


def _show(saved: dict[str, Any], path: Any, flags: dict[str, Any], notes: Any = ()) -> None:
    if flags["json_"]:
        show.emit_json(saved)
    elif not flags["quiet"]:
        show.scores(saved["valid"], saved["test"])
        show.lines(f"note: {n}" for n in notes)
        ending = f" ({saved['ended']})" if saved.get("ended") else ""
        print(f"{saved['epochs_trained']} epochs in {saved['seconds']['total']:.1f} s{ending}; written to {path}")
