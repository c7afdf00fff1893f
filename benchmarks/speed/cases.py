"""The three cases: data, model, optimizer and batch, the same for every library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Net(nn.Module):
    """The plain affine maps of a case with what lies between them; ``full`` adds its batch norms and dropout."""

    def __init__(self, full: bool) -> None:
        super().__init__()
        self.full = full

    def norm(self, module: nn.Module) -> nn.Module:
        return module if self.full else nn.Identity()


class Mlp(Net):
    """(a) 784-512-512-10, batch norm, ReLU, dropout 0.5."""

    def __init__(self, full: bool = False) -> None:
        super().__init__(full)
        self.fc1, self.fc2, self.fc3 = nn.Linear(784, 512), nn.Linear(512, 512), nn.Linear(512, 10)
        self.bn1, self.bn2 = self.norm(nn.BatchNorm1d(512)), self.norm(nn.BatchNorm1d(512))
        self.drop = self.norm(nn.Dropout(0.5))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.act(self.bn1(self.fc1(x))))
        x = self.drop(self.act(self.bn2(self.fc2(x))))
        return self.fc3(x)


class Cnn(Net):
    """(b) conv32-BN-ReLU-conv64-BN-ReLU-pool-dropout-fc128-ReLU-fc10 on 1×28×28, 3×3 windows without padding."""

    def __init__(self, full: bool = False) -> None:
        super().__init__(full)
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.bn1, self.bn2 = self.norm(nn.BatchNorm2d(32)), self.norm(nn.BatchNorm2d(64))
        self.drop = self.norm(nn.Dropout(0.25))
        self.fc1, self.fc2 = nn.Linear(64 * 12 * 12, 128), nn.Linear(128, 10)
        self.act, self.pool = nn.ReLU(), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        x = self.pool(self.act(self.bn2(self.conv2(x))))
        return self.fc2(self.act(self.fc1(self.drop(x.flatten(1)))))


class Small(Net):
    """(c) 20-64-64-2, ReLU."""

    def __init__(self, full: bool = False) -> None:
        super().__init__(full)
        self.fc1, self.fc2, self.fc3 = nn.Linear(20, 64), nn.Linear(64, 64), nn.Linear(64, 2)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(self.act(self.fc2(self.act(self.fc1(x)))))


@dataclass(frozen=True)
class Case:
    name: str
    build: Callable[[bool], nn.Module]
    shape: tuple[int, ...]
    classes: int
    batch: int
    batches: int  # of an epoch
    optimizer: str
    rate: float
    threads: int  # the best count for the bare loop
    cohorts: tuple[int, ...]

    @property
    def rows(self) -> int:
        return self.batch * self.batches

    def optimizer_of(self, params: object) -> torch.optim.Optimizer:
        """PyTorch's own, fused."""
        if self.optimizer == "nesterov":
            return torch.optim.SGD(params, self.rate, momentum=0.9, nesterov=True, fused=True)  # type: ignore[arg-type]
        return torch.optim.AdamW(params, self.rate, weight_decay=0.01, fused=True)  # type: ignore[arg-type]


CASES = {
    "a": Case("a", Mlp, (784,), 10, 128, 64, "nesterov", 0.05, 2, (8,)),
    "b": Case("b", Cnn, (1, 28, 28), 10, 128, 8, "adamw", 1e-3, 2, (4,)),
    "c": Case("c", Small, (20,), 2, 64, 640, "adamw", 1e-3, 1, (16, 64)),
}


@cache
def rows(name: str) -> tuple[Tensor, Tensor]:
    """Standard normal inputs and labels that a linear rule makes: nothing in the timing depends on the values."""
    case, g = CASES[name], torch.Generator().manual_seed(0)
    x = torch.randn(case.rows, *case.shape, generator=g)
    rule = torch.randn(x[0].numel(), case.classes, generator=g)
    return x.to(DEVICE), (x.flatten(1) @ rule).argmax(1).to(DEVICE)


@cache
def flops(name: str) -> int:
    """Multiplications and additions of matrix products and convolutions in one step of one run."""
    case = CASES[name]
    x, y = (v[: case.batch].cpu() for v in rows(name))
    model = case.build(True)
    with FlopCounterMode(display=False) as counter:
        nn.functional.cross_entropy(model(x), y).backward()
    return counter.get_total_flops()
