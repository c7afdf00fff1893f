"""`equipoise train`."""

from __future__ import annotations

import json
from typing import Any

from . import setting, show


def train_command(data: str, flags: dict[str, Any]) -> None:
    from typer import Exit

    from ..checkpoint import Folder, Stopped, asked
    from ..feed import Schedule
    from ..plan import Member, group
    from ..programs import make_program
    from ..risks import warnings_for
    from ..train import train_one
    from ..training import checked_seed

    s = setting.resolved(data, flags)
    path, _ = setting.folder(flags, s.data.name, "run.json")
    member, schedule = Member(s.recipe, checked_seed(flags["seed"])), Schedule(s.epochs, flags["batch_size"])
    options = setting.options(flags)
    with Folder(path, asked(s.model, [member], s.data, schedule), flags["resume"]) as keeper:
        if keeper.done([path]):
            _show(json.loads((path / "run.json").read_text(encoding="utf-8")), path, flags)
            return
        if not flags["quiet"]:
            net = make_program(s.model, group([member])[0][0], member, s.data, options).net
            risks = warnings_for(s.recipe, s.data, net, schedule.batch_size)
            show.lines((f"warning: {w}" for w in risks), to_error=True)
        try:
            run = train_one(s.model, member, s.data, schedule, options, keeper)
        except Stopped as e:
            show.lines([f"equipoise: {e.where}; go on with: {setting.command_to_resume(path)}"], to_error=True)
            raise Exit(130) from None
        run.record.command = setting.command()
        run.record.model = s.model
        scores = {split: run.score(split) for split in ("assess", "test")}
        keeper.finish([run], [path], scores)
    _show(run.to_dict(scores, path.name), path, flags, run.notes)


def _show(saved: dict[str, Any], path: Any, flags: dict[str, Any], notes: Any = ()) -> None:
    if flags["json_"]:
        show.emit_json(saved)
    elif not flags["quiet"]:
        show.scores(saved["valid"], saved["test"])
        show.lines(f"note: {n}" for n in notes)
        ending = f" ({saved['ended']})" if saved.get("ended") else ""
        print(f"{saved['epochs_trained']} epochs in {saved['seconds']['total']:.1f} s{ending}; written to {path}")
