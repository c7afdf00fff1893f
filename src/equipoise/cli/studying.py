"""`equipoise study`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EquipoiseError
from . import setting, show

if TYPE_CHECKING:
    from ..plan import Options
    from ..study.planned import StudyPlan


def study_command(data: str, flags: dict[str, Any]) -> None:
    from typer import Exit

    from ..checkpoint import Stopped
    from ..feed import Schedule
    from ..study.conduct import check_folder, conduct
    from ..study.phases import Setting
    from ..study.planned import primary_metric
    from ..study.store import NAME
    from ..study.terms import Judging

    s = setting.resolved(data, flags)
    options: Options = setting.options(flags)
    metric, looks = primary_metric(s.data, flags["metric"]), _looks(flags["looks"])
    goes_on = flags["resume"] or flags["more"] is not None
    path, _ = setting.folder({**flags, "resume": goes_on}, s.data.name, "study.json")
    check_folder(path, flags["resume"], flags["more"])
    talk = not (flags["quiet"] or flags["json_"])
    if (path / NAME).is_file():
        (plan, splits), told = _stored(s, flags, path / NAME), []
    else:
        from .planning import arranged

        found = arranged(s, flags, options)
        plan, splits, told = found.plan, found.splits, found.lines()
    judging = Judging(metric, flags["smallest"], splits, looks, flags["seed"])
    judging.check(plan.seeds)
    if talk:
        show.lines(told)
    study = Setting(s.model, s.data, Schedule(s.epochs, flags["batch_size"]), options)
    try:
        result = conduct(
            study, plan, judging, out=path, resume=flags["resume"], more=flags["more"], command=setting.command()
        )
    except Stopped as e:
        show.lines([f"equipoise: {e.where}; go on with: {setting.command_to_resume(path)}"], to_error=True)
        raise Exit(130) from None
    if flags["json_"]:
        show.emit_json(result.to_dict())
    elif talk:
        _show(result, path)


def _looks(text: str | None) -> int | list[int] | None:
    """``3``: so many looks, equally spaced; ``3,6,9``: the seed blocks in hand at each."""
    if text is None:
        return None
    try:
        numbers = [int(v) for v in text.split(",")]
    except ValueError:
        raise EquipoiseError(f"--looks {text}: how many looks, or the seed blocks at each, such as 3,6,9.") from None
    return numbers[0] if len(numbers) == 1 else numbers


def _stored(s: setting.Setting, flags: dict[str, Any], path: Path) -> tuple[StudyPlan, int]:
    """The plan that the flags ask for; with --budget, which measures anew each time, in the size that was chosen."""
    from ..study import prepare
    from ..study.store import Store

    size: dict[str, Any] = {"seeds": flags["seeds"] or 3, "lr": flags["lr"]}
    splits = 0 if flags["no_trade"] else 2
    if flags.get("budget") is not None:
        with Store(path) as store:
            chosen = store.fact("asked") if store.begun else None
        if chosen is not None:
            lr = "ladder" if len(chosen["rates"]) > 1 else "fixed"
            size = {"seeds": chosen["seeds"], "lr": lr, "configurations": chosen["configurations"]}
            splits = chosen["splits"]
    return prepare(s.model, s.recipe, s.data, flags["techniques"], seed=flags["seed"], **size), splits


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
    failed, size = int(result.trained.failed.sum()), result.trained.failed.size
    if failed:
        print(f"{failed} of {size} runs diverged and are scored as the fallback a user would have.")
    if any(result.capped.values()):
        worst = ", ".join(f"{n} of {k}" for k, n in result.capped.items() if n)
        print(f"worse than that fallback at their chosen rate, and scored as it: runs {worst}.")
    if len(result.looks["declared"]) > 1:
        show.lines(f"note: {n}" for n in result.notes if n.startswith("look "))
    print(f"recipe.yaml, report.html, study.json, effects.csv and study.sqlite are in {path}")
