"""The study of the digits from the command to its end, with cold and warm caches, against Lightning's pace on one run.

Lightning trains the study's network with the plainest arm (all techniques off) and with the fullest (all on, images
turned by Kornia); a design has each technique in half of its arms.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 100  # of a Lightning run that is timed
COMMAND = "from equipoise.cli import main; main()"


def asked(caches: dict[str, str], *flags: str) -> str:
    without = {k: v for k, v in os.environ.items() if k not in ("EQUIPOISE_CACHE", "OMP_NUM_THREADS")}
    command = [sys.executable, "-W", "ignore", "-c", COMMAND, "study", "digits", *flags]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=without | caches).stdout


def study(caches: dict[str, str], out: Path) -> dict[str, Any]:
    began = time.perf_counter()
    asked(caches, "--out", str(out), "--quiet")
    taken = time.perf_counter() - began
    told = json.loads((out / "study.json").read_text(encoding="utf-8"))["seconds"]
    training = sum(told[k] for k in ("train", "halves", "confirmation"))
    return {"seconds": taken, "compiling": told["compile"], "training": training}


def network(full: bool) -> nn.Module:
    between = lambda: [nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.3)] if full else [nn.ReLU()]  # noqa: E731
    return nn.Sequential(nn.Linear(64, 64), *between(), nn.Linear(64, 64), *between(), nn.Linear(64, 10))


def lightning(full: bool) -> dict[str, float]:
    """Steps a second of one run of the digits."""
    import lightning as L
    from kornia.augmentation import RandomAffine

    from equipoise import Data

    data = Data.load("digits")
    x, y = data.select("fit")
    turn = RandomAffine(10.0, translate=(1 / 16, 1 / 16), padding_mode="border", p=1.0)

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network(full)

        def training_step(self, batch: Any, _: int) -> Tensor:
            x, y = batch
            if not full:
                return F.cross_entropy(self.net(x.flatten(1)), y)
            share = torch.distributions.Beta(0.2, 0.2).sample()
            x = turn(x)
            out = self.net((share * x + (1 - share) * x.roll(1, 0)).flatten(1))
            loss = lambda target: F.cross_entropy(out, target, label_smoothing=0.1)  # noqa: E731
            return share * loss(y) + (1 - share) * loss(y.roll(1, 0))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), 1e-2, weight_decay=1e-3 if full else 0.0, fused=True)
            each = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)] if full else []
            return [optimizer], each

    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    loader = DataLoader(TensorDataset(x.float() / 16, y), 64, shuffle=True)
    trainer = L.Trainer(max_epochs=EPOCHS, accelerator="cpu", devices=1, **dict.fromkeys(names, False))  # type: ignore[arg-type]
    began = time.perf_counter()
    trainer.fit(Module(), loader)
    return {"steps": EPOCHS * len(loader), "seconds": time.perf_counter() - began}


def measure(blocks: int, seconds: float) -> dict[str, Any]:
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as empty:
        caches = {k: str(Path(empty) / k.lower()) for k in ("TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME")}
        found["run-steps"] = json.loads(asked(caches, "--plan", "--json"))["run_steps"]
        for name in ("cold", "warm"):
            found[name] = study(caches, Path(empty) / name)
    for name, full in (("plainest", False), ("fullest", True)):
        found[f"Lightning, {name}"] = lightning(full)
    return found
