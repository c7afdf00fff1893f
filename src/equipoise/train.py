"""`train`: one run with a recipe, and the user's own plain network back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .training import checked_seed, train_members
from .errors import EquipoiseError
from .feed import Schedule
from .plan import Member, Options
from .recipe import resolve
from .reference import reference_recipe
from .run import Run

if TYPE_CHECKING:
    from .data import Data


def train(
    model: Any,
    recipe: Any,
    data: Data,
    *,
    epochs: int,
    batch_size: int = 64,
    shuffle: str = "each",
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    options: Options = Options(),
) -> Run:
    """Train one run.

    model: a builder without arguments, a reference network ("mlp(hidden=(64, 64))"), "module:function", or an
    nn.Module, which is copied. recipe: a `Recipe` (or any sequence of techniques), completed by the default recipe: the objective
    of the task, AdamW(1e-3), Standardize; None takes the default of a reference network. epochs ≥ 1; batch_size 1 … N;
    shuffle: "each" epoch, "once", "never". out: a folder to write the run to; None writes nothing.

    Returns the `Run`. Raises EquipoiseError for bad input, and where the run became non-finite (the message says at
    which step).
    """
    member = Member(resolve(recipe, data.task, default=reference_recipe(model)), checked_seed(seed))
    run = train_members(model, [member], data, Schedule(epochs, batch_size, shuffle), options)[0]
    if run.failed:
        raise EquipoiseError(
            f"training failed: {run.failed}. Lower the learning rate, add ClipGradients, or see `equipoise doctor`."
        )
    if out is not None:
        run.save(out)
    return run
