"""The trained network as one module that takes raw inputs: the numeric preparation first, then the plain network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .run import Run


class Preparation(nn.Module):
    """The fitted preparation of a run as a module: raw floating inputs to what the network takes."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._techniques = [run.program.by_key[k] for k in run.program.objective.stages["prepare"]]
        self._names: dict[str, list[tuple[str, str]]] = {}
        for i, t in enumerate(self._techniques):
            for name, value in run.const.fitted.get(t.key, {}).items():
                self.register_buffer(f"fitted{i}_{name}", value.clone())
                self._names.setdefault(t.key, []).append((name, f"fitted{i}_{name}"))

    def forward(self, x: Any) -> Any:
        for t in self._techniques:
            x = t.prepare(x, {name: getattr(self, buffer) for name, buffer in self._names.get(t.key, [])})
        return x


class Readout(nn.Module):
    """Network outputs to class probabilities, or to targets in the user's units."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._objective, self._techniques = run.program.objective, run.program.by_key
        self._fitted = run.const.fitted

    def forward(self, output: Tensor) -> Tensor:
        decoded = self._objective.coding.decode(output, self._objective.task)
        return self._objective.read(decoded, self._techniques, self._fitted)


def exportable(run: Run) -> nn.Sequential:
    """Preparation, the plain network, readout: raw inputs (one tensor) to predictions, for torch.export or ONNX."""
    return nn.Sequential(Preparation(run), run.model, Readout(run)).eval()


def export(run: Run, example: Tensor) -> torch.export.ExportedProgram:
    """torch.export of `exportable` for batches shaped like ``example``."""
    return torch.export.export(exportable(run), (example,))
