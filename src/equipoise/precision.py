"""Which precision to train in, where that is left to us: bfloat16 where a few passes of this network are faster."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from .cohort import Cohort
from .executor import Single
from .feed import Schedule
from .plan import Member, Options, group
from .programs import make_program

if TYPE_CHECKING:
    from .data import Data

STEPS = 20  # timed, after a first one that is not
GAIN = 1.15  # how much faster the coarser precision must be


def settled(options: Options, model: Any, member: Member, data: Data, schedule: Schedule) -> Options:
    """The options with ``precision`` "auto" replaced by what a short measurement shows to be faster. Decided once,
    before anything is trained, and stored: the bits of a run depend on the choice, not on later timing."""
    if options.precision != "auto":
        return options
    fast = dict.fromkeys(("float32", "bfloat16"), float("inf"))
    for precision in fast:
        try:
            fast[precision] = _seconds(replace(options, precision=precision), model, member, data, schedule)
        except (RuntimeError, NotImplementedError):  # an operator of the model has no such version
            continue
    return replace(options, precision="bfloat16" if fast["bfloat16"] * GAIN < fast["float32"] else "float32")


def _seconds(options: Options, model: Any, member: Member, data: Data, schedule: Schedule) -> float:
    """Of the fastest of a few passes of the plain network there and back. What techniques and optimizers add has one
    precision, and takes longer here than compiled."""
    data, one = data.to(options.resolved_device()), replace(member, techniques={})
    [(techniques, _)] = group([one])
    cohort = Cohort(make_program(model, techniques, one, data, options), [one], data, schedule, Single)
    program, device, times = cohort.program, cohort.program.device.type, list[float]()
    net, x = program.fresh(0), cohort.first_batch(0, cohort.executor.member(cohort.const, 0)).x
    weights = [p for p in net.parameters() if p.requires_grad]
    for _ in range(STEPS + 1 if weights else 0):
        began = time.perf_counter()
        coarse = torch.autocast(device, torch.bfloat16, enabled=options.precision == "bfloat16")
        with coarse, torch.random.fork_rng():
            out = net(*x) if isinstance(x, tuple) else net(x)
        torch.autograd.grad(out.float().square().mean(), weights, allow_unused=True)
        if device == "cuda":
            torch.cuda.synchronize(program.device)
        times.append(time.perf_counter() - began)
    return min(times[1:], default=float("inf"))
