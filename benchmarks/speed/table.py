"""Results as markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TITLES = {
    "a": "(a) MLP 784-512-512-10, batch norm, ReLU, dropout 0.5, batch 128, Nesterov",
    "b": "(b) CNN 32-64-pool-128-10, batch norm, dropout, batch 128, AdamW",
    "c": "(c) table, MLP 20-64-64-2, batch 64, AdamW",
}
FROM = {"ours": "", "peers": "", "keras": "", "jax": ", beside JAX"}


def tables(folder: Path, suffix: str = "") -> str:
    def read(name: str) -> dict[str, Any] | None:
        path = folder / f"{name}{suffix}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    out = []
    for case in TITLES:
        groups = {g: found for g in FROM if (found := read(f"{case}-{g}"))}
        if groups:
            out.append(_case(case, groups))
    for name, make in (
        ("noise", _noise),
        ("augmentation", _augmentation),
        ("costs", _costs),
        ("endtoend", _endtoend),
        ("study", _study),
    ):
        if found := read(name):
            out.append(f"{make(found)}\n\n{_machine(found['machine'])}")
    return "\n\n".join(out) + "\n"


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(r)} |" for r in rows)


def _spread(row: dict[str, float]) -> str:
    return f"{row['ratio']:.2f} ({row['ratio low']:.2f} to {row['ratio high']:.2f})"


def _machine(m: dict[str, Any]) -> str:
    return f"{m['device']}, {m['cores']} cores, torch {m['torch']}; load {m['load']} before, {m['load after']} after."


def _case(case: str, groups: dict[str, dict[str, Any]]) -> str:
    lines, missing, peaks = [], [], []
    for group, found in groups.items():
        for i, row in enumerate(found["rows"]):
            again = i == 0 and group != "ours" and "ours" in groups
            if again:
                continue
            name = row["name"] + (FROM[group] if row["name"].startswith("Equipoise") else "")
            share, first = f"{100 * row['share of peak']:.1f} %", f"{row['first epoch seconds']:.1f}"
            lines.append(
                [
                    name,
                    f"{row['microseconds']:,.0f}",
                    _spread(row),
                    f"{row.get('CPU ratio', 0):.2f}",
                    share,
                    first,
                    row["note"],
                ]
            )
        missing += [f"{name}: {why}" for name, why in found["not measured"].items()]
        peak, m = found["peak"], found["machine"]
        anchor = found["rows"][0]["microseconds"]
        peaks.append(
            f"{group}: {peak['float32'] / 1e9:,.0f} GFLOP/s float32, {peak['bfloat16'] / 1e9:,.0f} bfloat16, "
            f"bare loop {anchor:,.0f} µs, load {m['load']} to {m['load after']}"
        )
    first = next(iter(groups.values()))
    head = [
        "variant",
        "µs a run-step",
        "× the bare loop (spread over blocks)",
        "× in CPU time",
        "of peak",
        "first epoch, s",
        "plan",
    ]
    text = f"#### {TITLES[case]}\n{_table(head, lines)}\n\n"
    m = first["machine"]
    text += f"{m['device']}, {m['cores']} cores, torch {m['torch']}; {first['threads']} threads; "
    text += (
        f"{first['flops'] / 1e6:,.1f} MFLOP a step. Matrix product peak and anchor of each process: {'; '.join(peaks)}."
    )
    return text + "".join(f"\nNot measured: {line}." for line in missing)


def _noise(found: dict[str, Any]) -> str:
    million = found["elements"] / 1e6
    lines = [[k, f"{million / (v['milliseconds'] * 1e-3):,.0f}", _spread(v)] for k, v in found["masks"].items()]
    text = "#### Noise\n" + _table(["dropping, one thread", "million elements a second", "× F.dropout"], lines)
    for name, block in found["blocks"].items():
        rows = [[k, f"{v['milliseconds']:.3f}", _spread(v), _share(v, block["eager"])] for k, v in block.items()]
        head = [f"batch norm, ReLU, dropout on {name}, both ways", "ms", "× eager", "saved bytes, share of eager's"]
        text += "\n\n" + _table(head, rows)
    return text


def _share(v: dict[str, float], of: dict[str, float]) -> str:
    return f"{v['saved bytes'] / of['saved bytes']:.2f}" if "saved bytes" in v else "–"


def _augmentation(found: dict[str, Any]) -> str:
    lines = []
    for name, each in found["lines"].items():
        for k, v in each.items():
            if k != "Kornia":
                what = name if k == "ours" else f"{name}, {k.removeprefix('ours, ')}"
                lines.append([what, f"{v['milliseconds']:.2f}", f"{each['Kornia']['milliseconds']:.2f}", _spread(v)])
    title = "#### Augmentation: 512×3×32×32 stored bytes to augmented floats, one thread\n"
    missing = "".join(f"\nNot measured: {k}: {v}." for k, v in found.get("not measured", {}).items())
    return title + _table(["", "ours, ms", "Kornia, ms", "× Kornia"], lines) + missing


def _costs(found: dict[str, Any]) -> str:
    lines = []
    for name in ("rows", "runs, eager", "techniques"):
        f = found[name]
        power = "" if f["power"] is None else f"{f['power']:.2f}"
        each = " ".join(f"{s}: {m:.0f}" for s, m in zip(f["sizes"], f["milliseconds"], strict=True))
        lines.append(
            [name, each, f"{f['each']:.4f}", f"{f['fixed']:.1f}", power, f"{100 * f['largest deviation']:.0f} %"]
        )
    head = ["an epoch of (c) by", "size: ms", "ms each", "fixed ms", "power", "largest deviation from the line"]
    m, s = found["memory"], found["start"]
    start = ", ".join(f"{k} {v:.2f} s" for k, v in s.items())
    memory = f"one run {m['one'] / 2**20:.0f} MiB, eight {m['eight'] / 2**20:.0f} MiB"
    memory += f": {m['share of the sum']:.2f} of the sum"
    return f"#### Costs\n{_table(head, lines)}\n\nPeak memory of (a) above its data: {memory}. Starting: {start}."


def _endtoend(found: dict[str, Any]) -> str:
    lines = []
    for steps, f in found["lengths"].items():
        told = [f"{f['seconds'][k]:.1f}" if f["seconds"][k] else "failed" for k in ("auto", "always", "never")]
        lines.append([f"{int(steps):,}", *told, "yes" if f["within the bound"] else "no"])
    head = ["steps of (c), cold caches", "auto, s", "always, s", "never, s", "auto within 10 % + 1 s of the better"]
    return "#### Start to trained model\n" + _table(head, lines)


def _study(found: dict[str, Any]) -> str:
    steps, lines = found["run-steps"], []
    pace = {k: v["steps"] / v["seconds"] for k, v in found.items() if k.startswith("Lightning")}
    for name in ("cold", "warm"):
        f = found[name]
        for what, seconds in (("whole", f["seconds"]), ("training alone", f["training"])):
            times = [f"{steps / seconds / p:.1f}" for p in pace.values()]
            lines.append([f"{name} caches, {what}", f"{seconds:.1f}", f"{steps / seconds:,.0f}", *times])
    lines += [[k, f"{v['seconds']:.1f}", f"{pace[k]:,.0f}", *["–"] * len(pace)] for k, v in found.items() if k in pace]
    head = ["`equipoise study digits`", "s", "run-steps a second", *(f"× {k}" for k in pace)]
    return "#### The study of the digits\n" + _table(head, lines)
