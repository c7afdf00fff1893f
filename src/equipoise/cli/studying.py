"""`equipoise study`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import setting, show

if TYPE_CHECKING:
    from ..study.costs import Costs


def study_command(data: str, flags: dict[str, Any]) -> None:
    from ..plan import Options
    from ..study import prepare, study
    from ..study.costs import checklist, costs
    from ..study.planned import primary_metric

    s = setting.resolved(data, flags)
    options: Options = setting.options(flags)
    plan = prepare(
        s.model,
        s.recipe,
        s.data,
        flags["techniques"],
        seeds=flags["seeds"],
        lr=flags["lr"],
        seed=flags["seed"],
    )
    metric = primary_metric(s.data, flags["metric"])
    splits = 0 if flags["no_trade"] else 2
    cost = costs(plan, s.data, s.model, s.epochs, flags["batch_size"], options, splits)
    if flags["plan"]:
        _show_plan(cost, checklist(plan, s.data, s.model, s.epochs), flags["json_"])
        return
    path, finished = setting.folder(flags, s.data.name, "study.json")
    if finished:
        saved = json.loads((path / "study.json").read_text(encoding="utf-8"))
        show.emit_json(saved) if flags["json_"] else show.lines([f"finished already: see {path / 'report.html'}"])
        return
    talk = not (flags["quiet"] or flags["json_"])
    if talk:
        show.lines([*(f"note: {n}" for n in plan.left_out), *cost.lines()])
    result = study(
        s.model,
        s.recipe,
        s.data,
        flags["techniques"],
        seeds=flags["seeds"],
        epochs=s.epochs,
        batch_size=flags["batch_size"],
        metric=metric,
        smallest=flags["smallest"],
        lr=flags["lr"],
        trade_splits=splits,
        seed=flags["seed"],
        options=options,
    )
    result.facts["command"] = setting.command()
    result.save(path)
    if flags["json_"]:
        show.emit_json(result.to_dict())
    elif talk:
        _show(result, path)


def _show_plan(cost: Costs, decided: dict[str, str], as_json: bool) -> None:
    if as_json:
        show.emit_json({**cost.to_dict(), "checklist": decided})
    else:
        show.lines(["The problem, as it is set up:", *(f"  {k}: {v}" for k, v in decided.items()), *cost.lines()])


def _show(result: Any, path: Any) -> None:
    show.verdicts(result)
    c = result.confirmation
    if c is None:
        print("Nothing was found that pays: the baseline stands.")
    else:
        word = "confirmed" if c.confirmed else "not confirmed, the baseline stands"
        print(
            f"Recommended against baseline on {c.seeds} fresh seeds and the test rows: "
            f"{c.metric} {c.recommended:.4f} against {c.baseline:.4f}, "
            f"difference {c.difference:+.4f} [{c.low:+.4f}, {c.high:+.4f}]: {word}."
        )
    failed = int(result.trained.failed.sum())
    if failed:
        print(
            f"{failed} of {result.trained.failed.size} runs diverged and are scored as the fallback a user would have."
        )
    print(f"recipe.yaml, report.html, study.json and effects.csv are in {path}")
