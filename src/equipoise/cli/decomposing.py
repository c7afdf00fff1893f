"""`equipoise bias-variance`."""

from __future__ import annotations

import json
from typing import Any

from . import setting, show

FILE = "bias_variance.json"


def bias_variance_command(data: str, flags: dict[str, Any]) -> None:
    from ..bias_variance import bias_variance
    from ..files import to_json, write_json, write_text

    s = setting.resolved(data, flags)
    path, finished = setting.folder(flags, s.data.name, FILE)
    if finished:
        _show(json.loads((path / FILE).read_text(encoding="utf-8")), path, flags)
        return
    measured = bias_variance(
        s.model, s.recipe, s.data, splits=flags["splits"], epochs=s.epochs, batch_size=flags["batch_size"],
        seed=flags["seed"], options=setting.options(flags),
    )  # fmt: skip
    found = json.loads(to_json({**measured.to_dict(), "command": setting.command()}))
    path.mkdir(parents=True, exist_ok=True)
    write_text(path / "recipe.yaml", s.recipe.to_yaml())
    write_text(path / "bias_variance.csv", show.csv_text(found["forms"]))
    write_json(path / FILE, found)  # last: a folder without it is unfinished, and is measured anew
    _show(found, path, flags)


def _show(found: dict[str, Any], path: Any, flags: dict[str, Any]) -> None:
    if flags["json_"]:
        show.emit_json(found)
        return
    if flags["quiet"]:
        return
    from rich.table import Table

    table = Table("loss", box=None, header_style="bold")
    for name in ("bias²", "95 % interval", "variance", "95 % interval", "risk", "95 % interval"):
        table.add_column(name, justify="right")
    for form in found["forms"]:
        cells = []
        for k in ("bias2", "variance", "risk"):
            low, value, high = (form[f"{k}{end}"] for end in ("_low", "", "_high"))
            cells += ["—" if value is None else f"{value:.4g}", _between(low, high)]
        table.add_row(form["form"], *cells)
    show.console().print(table)
    q, splits = found["question"], found["splits"]
    print(
        f"{q['model']} on {q['data']}, at n/2 = {found['n']:,} training rows, {splits} random half-splits "
        f"({2 * splits} trainings, {found['seconds']:.1f} s); bias² holds the noise of the targets."
    )
    if splits < 5:
        print(
            f"The intervals rest on {splits - 1} degree{'s' * (splits > 2)} of freedom of the splits; "
            "--splits 5 or more narrows them."
        )
    print(f"{FILE}, bias_variance.csv and recipe.yaml are in {path}")


def _between(low: float | None, high: float | None) -> str:
    return "no interval" if low is None or high is None else f"\\[{low:.4g}, {high:.4g}]"
