"""What was asked for: model, recipes, seeds, length and data, in a form that can be compared when training goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from ..errors import EquipoiseError
from ..feed import Schedule
from ..plan import Member
from ..step import Program

if TYPE_CHECKING:
    from ..data import Data

TELL = {  # what is asked for → how a difference is told; {0} is the old, {1} the new
    "model": "the model was {0}, now it is {1}",
    "recipes": "the recipe was {0}, now it is {1}",
    "seeds": "the seed was {0}, now it is {1}",
    "epochs": "epochs was {0}, now it is {1}",
    "batch_size": "batch_size was {0}, now it is {1}",
    "shuffle": "shuffle was {0}, now it is {1}",
    "data": "the data changed (fingerprint {0:.12}, now {1:.12})",
    "split": "the rows have other roles now (split, groups or split seed)",
}


def asked(model: Any, members: Sequence[Member], data: Data, schedule: Schedule) -> dict[str, Any]:
    """Everything that decides the result, as JSON."""
    found = {
        "model": name_of(model), "recipes": [m.recipe.to_list() for m in members], "seeds": [m.seed for m in members],
        "epochs": schedule.epochs, "batch_size": schedule.batch_size, "shuffle": schedule.shuffle,
        "data": data.fingerprint, "split": digest(data.split_dict()),
    }  # fmt: skip
    return json.loads(json.dumps(found))


def asked_of(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a finished run, from its run.json; without the model where that was a Python object."""
    data = saved["data"]
    found = {k: saved[k] for k in ("epochs", "batch_size", "shuffle")}
    found |= {"recipes": [saved["recipe"]], "seeds": [saved["seed"]]}
    found |= {"data": data["fingerprint"], "split": digest(data["split"])}
    return found | ({"model": saved["model"]} if saved["model"] else {})


def refuse_change(old: Mapping[str, Any], new: Mapping[str, Any], folder: Any, tell: Mapping[str, str] = TELL) -> None:
    """EquipoiseError that names the first thing that differs."""
    for key, text in tell.items():
        if key in old and old[key] != new[key]:
            a, b = _first_difference(old[key], new[key])
            raise EquipoiseError(
                f"{folder} cannot be resumed: {text.format(a, b)}. Repeat what it was started with, or choose another "
                "folder; what it holds is untouched."
            )


def structure(program: Program) -> str:
    """A digest of the network: its modules, and the names and shapes of its tensors."""
    module = program.net.original
    return digest([repr(module), [(k, list(v.shape), str(v.dtype)) for k, v in module.state_dict().items()]])


def name_of(model: Any) -> str:
    if isinstance(model, str):
        return model
    if not isinstance(model, nn.Module):
        return f"a builder {getattr(model, '__qualname__', type(model).__name__)}"
    weights = hashlib.sha256()
    for k, v in model.state_dict().items():
        weights.update(f"{k}{tuple(v.shape)}".encode())
        weights.update(v.detach().cpu().double().contiguous().numpy().data)
    return f"a {type(model).__name__} with weights {weights.hexdigest()[:12]}"


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _first_difference(old: Any, new: Any) -> tuple[Any, Any]:
    """Of two lists of equal length the first entries that differ; of two recipes, the techniques that differ."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = next((a, b) for a, b in zip(old, new, strict=True) if a != b)
        if isinstance(old, list) and isinstance(new, list):
            only = [[e for e in each if e not in other] for each, other in ((old, new), (new, old))]
            return tuple(json.dumps(v, ensure_ascii=False) for v in (only if any(only) else (old, new)))  # type: ignore[return-value]
    return old, new
