"""`train`: one run with a recipe, and the user's own plain network back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import Folder, Keeper, asked
from .combined import load
from .errors import EquipoiseError
from .feed import Schedule
from .plan import Member, Options
from .recipe import resolve
from .reference import reference_recipe
from .run import Run
from .training import NOTHING, checked_seed, train_members

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
    nn.Module, which is copied. recipe: a `Recipe` (or any sequence of techniques), completed by the default recipe: the
    objective of the task, AdamW(1e-3), Standardize; None takes the default of a reference network. epochs ≥ 1;
    batch_size 1 … N; shuffle: "each" epoch, "once", "never". out: a folder to write the run to, with checkpoints until
    it is finished; None writes nothing. resume: go on with what ``out`` holds, under its stored plan and to the same
    bits (a note of the run says where that could not be); a finished run is loaded. Ctrl-C and SIGTERM finish the step
    and keep it.

    Returns the `Run`. Raises EquipoiseError for bad input, and where the run became non-finite (the message says at
    which step).
    """
    member = Member(resolve(recipe, data.task, default=reference_recipe(model)), checked_seed(seed))
    schedule = Schedule(epochs, batch_size, shuffle)
    options.resolved_device()  # one that is not there is refused before anything is written
    if out is None:
        return train_one(model, member, data, schedule, options)
    with Folder(out, asked(model, [member], data, schedule), resume) as keeper:
        if keeper.done([Path(out)]):
            return load(out, model=model, data=data)
        run = train_one(model, member, data, schedule, options, keeper)
        keeper.finish([run], [Path(out)])
    return run


def train_one(
    model: Any, member: Member, data: Data, schedule: Schedule, options: Options, keeper: Keeper = NOTHING
) -> Run:
    """`train` for a member that is made already, unsaved."""
    run = train_members(model, [member], data, schedule, options, keeper=keeper)[0]
    if not run.failed and (gap := run.monte_carlo(data.select("stop")[0])):
        run.record.notes.append(
            f"Monte-Carlo prediction on `stop`: spread {gap['spread']:.4f}, "
            f"gap to the deterministic rule {gap['gap']:.4f} (chance {gap['error']:.4f})."
        )
    if run.failed:
        keeper.discard()  # it would fail again
        raise EquipoiseError(f"training failed: {run.failed} `equipoise doctor` tells more.")
    return run
