"""`equipoise doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import setting, show


def doctor_command(data: str, flags: dict[str, Any]) -> None:
    from ..doctor import Course, diagnose
    from ..files import to_json, write_json, write_text

    s = setting.resolved(data, flags)
    path = None
    if flags["out"] is not None:  # without --out nothing is written: a diagnosis is to be read
        path, finished = setting.folder(flags, s.data.name, "doctor.json")
        if finished:
            _show(json.loads((path / "doctor.json").read_text(encoding="utf-8")), flags, path)
            return
    course = Course(flags["steps"], flags["seed"], flags["batch_size"], flags["shuffle"])
    options = setting.options({**flags, "compile_": "never"})
    seen = diagnose(s.model, s.recipe, s.data, course, options, sizes=flags["sizes"], fix=flags["fix"])
    found = json.loads(to_json(seen.to_dict()))
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / "recipe.yaml", s.recipe.to_yaml())
        seen.report(path)
        write_json(path / "doctor.json", found)
    _show(found, flags, path)


def _show(found: dict[str, Any], flags: dict[str, Any], path: Path | None) -> None:
    if flags["json_"]:
        show.emit_json(found)
        return
    if flags["quiet"]:
        return
    for f in found["findings"]:
        print(f"{f['severity']} at {f['where']}: {f['why']}")
        if f["proposed"]:
            print(f"  proposed: {json.dumps(f['proposed'], ensure_ascii=False)}")
        print(f"  source: {f['source']}")
    if not found["findings"]:
        print("nothing is wrong with this set-up.")
    print(
        f"{len(found['measures'])} measures over {found['steps']} steps in {found['seconds']:.1f} s; --json lists them"
    )
    if path is not None:
        print(f"{path / 'doctor.html'} draws them by layer and by step")
    if "mended" in found:
        print(_mended(found["mended"]))
    elif flags["fix"] and found["findings"]:
        print("no first cause proposes anything that can be tried")


def _mended(m: dict[str, Any]) -> str:
    if m["low"] is None:
        return "with what is proposed: a loss that is not finite; not shown to be a remedy"
    verdict = "a remedy" if m["low"] > 0 else "not shown to be a remedy"
    interval = f"95 % interval {m['low']:.0%} to {m['high']:.0%} over {m['seeds']} seeds"
    return f"with what is proposed, {m['gap_closed']:.0%} of the loss on stop goes ({interval}): {verdict}"
