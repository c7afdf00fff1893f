"""Training in processes that are killed at random moments, and whether what they leave in the end is the same."""

from __future__ import annotations

import multiprocessing
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from equipoise import techniques as T
from equipoise.checkpoint import keeper
from equipoise.recipe import Recipe
from equipoise.train import train
from equipoise.training import train_many

from .contract_cases import COMPANY, case, entry

PATIENCE = 120.0  # seconds after which a process hangs


@dataclass(frozen=True)
class Job:
    """Networks trained with these techniques: one with `train`, several (of equal networks) with `train_many`."""

    techniques: tuple[str, ...]
    epochs: int = 4

    def __str__(self) -> str:
        return " + ".join(self.techniques)

    def run(self, out: Path, resume: bool) -> None:
        kinds = [T.find(n) for n in self.techniques]
        build, data = case(kinds[0])
        recipes = [Recipe(*COMPANY.get(k.__name__, ()), entry(k)) for k in kinds]
        how: dict[str, Any] = {"epochs": self.epochs, "batch_size": 24, "out": out, "resume": resume}
        if len(recipes) == 1:
            train(build, recipes[0], data, seed=3, **how)
        else:
            train_many(build, recipes, data, seeds=range(len(recipes)), **how)


def victim(job: Job, out: Path, resume: bool, ready: Connection) -> None:
    """In the process: a checkpoint after every epoch, however short."""
    torch.set_num_threads(1)
    keeper.EVERY = keeper.SHARE = 0.0
    ready.send(True)
    job.run(out, resume)


class Failed(Exception):
    """A process that nobody killed did not train to the end."""


class Killer:
    """Starts processes from one that has everything imported, which takes milliseconds; kills them."""

    def __init__(self, seed: int) -> None:
        root = str(Path(__file__).parents[1])
        if root not in sys.path:
            sys.path.append(root)  # the processes import this module by its name
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, "torch._dynamo", "yaml"])
        self._random = random.Random(seed)

    def start(self, job: Job, out: Path, resume: bool) -> Any:
        """A process that has just begun to train."""
        here, there = self._context.Pipe(duplex=False)
        process = self._context.Process(target=victim, args=(job, out, resume, there))
        process.start()
        there.close()
        assert here.poll(PATIENCE) and here.recv(), "the process did not start"
        return process

    def finish(self, job: Job, out: Path, resume: bool) -> float:
        """Train to the end; seconds."""
        process, began = self.start(job, out, resume), time.monotonic()
        process.join(PATIENCE)
        if process.exitcode != 0:
            raise Failed(f"ended with exit code {process.exitcode}")
        return time.monotonic() - began

    def kill(self, job: Job, out: Path, times: int, span: float) -> int:
        """Start, and kill (SIGKILL) at a random moment of ``span`` seconds, again and again; kills that landed."""
        landed = 0
        for _ in range(times):
            process = self.start(job, out, resume=True)
            process.join(self._random.uniform(0, span))
            process.kill()
            process.join(PATIENCE)
            landed += process.exitcode == -9
            if process.exitcode == 0:  # it was faster
                break
            if process.exitcode != -9:
                raise Failed(f"ended with exit code {process.exitcode}")
        return landed


def differences(a: Path, b: Path) -> list[str]:
    """Files of two result folders that differ in a byte (weights, state, history, recipe), or are in one alone."""
    kept = [{p.relative_to(f): p for p in sorted(f.rglob("*")) if _compared(p)} for f in (a, b)]
    names: Sequence[Path] = sorted(set(kept[0]) | set(kept[1]))
    return [str(n) for n in names if not all(n in k for k in kept) or _content(kept[0][n]) != _content(kept[1][n])]


def _compared(path: Path) -> bool:
    return path.is_file() and path.name != "run.json"  # which holds times


def _content(path: Path) -> Any:
    """The bytes; of tensors by name, for the order inside of a safetensors file is not fixed."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    return {k: (v.shape, v.dtype, v.numpy().tobytes()) for k, v in load_file(path).items()}
