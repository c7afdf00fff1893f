"""How training is executed, beyond what is asked for: stored before step 1, followed when it goes on."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ..errors import EquipoiseError
from ..plan import Options

FOLLOWED = ("device", "precision", "compile", "threads")


def how(options: Options) -> dict[str, Any]:
    """The options as they resolve here, and what else bits depend on."""
    return {
        "device": str(options.resolved_device()), "precision": options.precision, "compile": options.compile,
        "threads": options.threads or torch.get_num_threads(), **machine(),
    }  # fmt: skip


def follow(stored: Mapping[str, Any], options: Options) -> tuple[Options, list[str]]:
    """The stored options, and one line for each that was given otherwise or cannot be followed here."""
    notes = []
    for key, now in machine().items():
        if stored[key] != now:
            notes.append(_not_identical(f"it was begun with {key} {stored[key]} and this is {now}"))
    for key in FOLLOWED:
        given = getattr(options, key)
        if given not in (getattr(Options, key), stored[key], "auto"):
            notes.append(f"resumed under the stored plan: {key} {stored[key]}, not {given}.")
    device = stored["device"]
    try:
        Options(device=device).resolved_device()
    except EquipoiseError:
        device = str(Options().resolved_device())
        notes.append(_not_identical(f"device {stored['device']} is not there; it went on with {device}"))
    kept: Any = {k: stored[k] for k in ("precision", "compile", "threads")}
    return replace(options, **kept, device=device), notes


def _not_identical(why: str) -> str:
    return f"not bit-identical, because {why}."


def machine() -> dict[str, str]:
    """What bits depend on beside the plan."""
    return {
        "torch": str(torch.__version__),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }
