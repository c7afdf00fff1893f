"""The JSON schemas of what the commands print, NAMES (JSON Schema 2020-12)."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

NAMES = ("run", "study", "doctor", "bias_variance", "techniques")


def load(name: str) -> dict[str, Any]:
    """The schema of ``name``, one of NAMES."""
    assert name in NAMES, name
    return json.loads(files(__name__).joinpath(f"{name}.schema.json").read_text(encoding="utf-8"))


def identifier(name: str) -> str:
    """What a document of that form has under ``"schema"``: ``equipoise/run/1`` (the list of techniques has none)."""
    return load(name)["properties"]["schema"]["const"]
