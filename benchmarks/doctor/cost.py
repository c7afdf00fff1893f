"""What looking costs: the instrumented training against the same training alone, in alternating blocks of one process.

    python benchmarks/doctor/cost.py [--blocks 5] [--steps 200 1000] [--only mlp]

Processor seconds of one thread, eager steps, float32; a block is ``steps`` steps of training from one start. Reported:
the time of a watched block over that of the plain block beside it, its median and range over the blocks; what looks
every 50 steps cost by themselves; and the seconds of what is measured once, after training.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from itertools import islice

import torch

from equipoise import probes
from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.doctor import Course
from equipoise.doctor.bench import Bench
from equipoise.doctor.watch import Watched, Watcher
from equipoise.executor import Single
from equipoise.plan import Member, Options, group
from equipoise.probe import Trace
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve

BATCH = 128
MODELS = {
    "mlp 784-512-512-10": ("mlp(hidden=(512,512))", (784,)),
    "cnn(channels=(16,32),hidden=64), 1×28×28": ("cnn(channels=(16,32),hidden=64)", (1, 28, 28)),
}


def rows(shape: tuple[int, ...]) -> Data:
    """10,000 standard normal rows whose classes depend on them: what is in them does not change what they cost."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(10_000, *shape, generator=g)
    return Data(x, x.flatten(1)[:, :10].argmax(1), name="normal")


def cohort(model: str, data: Data, course: Course, executor: type[Single]) -> Cohort:
    recipe = resolve(Recipe(T.AdamW(1e-3)), data.task)
    member = Member(recipe, 0)
    ((techniques, _),) = group([member])
    program = make_program(model, techniques, member, data, Options(compile="never"))
    return Cohort(program, [member], data, course.schedule(len(data.rows["fit"])), executor)


def stepping(c: Cohort) -> Iterator[float]:
    """Makes one step after another; yields the processor seconds since the step before."""
    began = time.process_time()
    while True:
        for now in c.feed.steps(c.epoch, [1.0]):
            c.state, _ = c.executor.step(c.state, c.const, now)
            yield time.process_time() - began
            began = time.process_time()
        c.epoch += 1


def plain(c: Cohort, steps: int) -> float:
    """Processor seconds of ``steps`` steps."""
    return sum(islice(stepping(c), steps))


def watched(c: Cohort, steps: int) -> tuple[float, float, Trace]:
    """Processor seconds of the same steps looked at, of what is measured afterwards, and the trace."""
    watcher = Watcher(c, steps, 0)
    began = time.process_time()
    watcher.train()
    trained = time.process_time()
    trace = watcher.trace()
    for probe in probes.every():
        probe.judge(probe.measure(trace), trace)
    return trained - began, time.process_time() - trained, trace


def look(model: str, data: Data, times: int = 15) -> float:
    """A look over ten plain steps beside it, in processor seconds, median of ``times``."""
    c = cohort(model, data, Course(20 * times, batch_size=BATCH), Single)
    bench, ratios, steps = Bench(c, 0), [], stepping(c)
    for i in range(times):
        alone = sum(islice(steps, 10))
        began = time.process_time()
        bench.look(50 * i)
        ratios.append((time.process_time() - began) / alone)
        next(steps)  # whose clock ran during the look
    return statistics.median(ratios[1:])


def compare(model: str, shape: tuple[int, ...], steps: int, blocks: int) -> dict[str, float]:
    data, course = rows(shape), Course(steps, batch_size=BATCH)
    plain(cohort(model, data, course, Single), 20)  # warm
    ratios, alone, after = [], [], []
    for i in range(blocks):
        both = {}
        for kind in ("plain", "watched") if i % 2 else ("watched", "plain"):
            c = cohort(model, data, course, Single if kind == "plain" else Watched)
            if kind == "plain":
                both[kind] = plain(c, steps)
            else:
                both[kind], measured, _ = watched(c, steps)
                after.append(measured)
        ratios.append(both["watched"] / both["plain"])
        alone.append(both["plain"] / steps)
    return {
        "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios),
        "step": statistics.median(alone), "after": statistics.median(after), "look": look(model, data) / 5,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--only", default="", help="models whose name holds this")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name, (model, shape) in MODELS.items():
        for steps in asked.steps if asked.only in name else ():
            r = compare(model, shape, steps, asked.blocks)
            print(
                f"{name} · {steps} steps · watched/plain {r['ratio']:.3f}, median of {asked.blocks} ({r['low']:.3f} to "
                f"{r['high']:.3f}) · a look over 50 steps {r['look']:.4f} · step {1e3 * r['step']:.2f} ms · measured "
                f"afterwards {r['after']:.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
