"""The networks of the benchmark, as users write them: each is made for (shape of an example, outputs)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equipoise.networks import CNN, MLP, ResNet

__all__ = [
    "CNN", "MLP", "ResNet", "Gru", "LayerNormed", "Lstm", "NormAfter", "NormCNN", "NormMLP", "Rnn", "ResidualMLP",
    "SiluCNN", "StrideCNN", "TextGru", "TextLstm", "TextRnn", "Transformer", "deep",
]  # fmt: skip


def deep(shape: Sequence[int], outputs: int, width: int, layers: int) -> nn.Module:
    """A plain ReLU net with He's start, which its depth needs."""
    net = MLP(shape, outputs, hidden=(width,) * layers)
    for m in net.modules():
        if isinstance(m, nn.Linear):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            nn.init.zeros_(m.bias)
    return net


class NormMLP(nn.Module):
    """Linear, batch norm, ReLU, twice."""

    def __init__(self, shape: Sequence[int], outputs: int, width: int = 32) -> None:
        super().__init__()
        n = torch.Size(shape).numel()
        self.body = nn.Sequential(
            nn.Linear(n, width), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.flatten(1)))


class NormCNN(nn.Module):
    """Convolution, batch norm, ReLU, pooling, twice."""

    def __init__(self, shape: Sequence[int], outputs: int, channels: Sequence[int] = (4, 8)) -> None:
        super().__init__()
        a, b = channels
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], a, 3, padding=1), nn.BatchNorm2d(a), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Linear(b * (shape[1] // 4) * (shape[2] // 4), outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


class NormAfter(nn.Module):
    """Linear, ReLU, batch norm, layer upon layer."""

    def __init__(self, shape: Sequence[int], outputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers, n = list[nn.Module](), torch.Size(shape).numel()
        for width in hidden:
            layers += [nn.Linear(n, width), nn.ReLU(), nn.BatchNorm1d(width)]
            n = width
        self.body, self.head = nn.Sequential(*layers), nn.Linear(n, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.flatten(1)))


class StrideCNN(nn.Module):
    """Three convolutions, two of which halve the picture, with batch norm and ELU; a head on the mean of places."""

    def __init__(self, shape: Sequence[int], outputs: int, channels: Sequence[int] = (6, 12, 16)) -> None:
        super().__init__()
        layers, n = list[nn.Module](), shape[0]
        for width, stride in zip(channels, (1, 2, 2), strict=True):
            layers += [nn.Conv2d(n, width, 3, stride, padding=1), nn.BatchNorm2d(width), nn.ELU()]
            n = width
        self.body, self.head = nn.Sequential(*layers), nn.Linear(n, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class ResidualMLP(nn.Module):
    """A stem, blocks x + W₂ φ(W₁ x), a head."""

    def __init__(self, shape: Sequence[int], outputs: int, width: int = 32, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Linear(torch.Size(shape).numel(), width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(blocks)
        )
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x.flatten(1))
        for block in self.blocks:
            h = h + block(h)
        return self.head(h)


class _Recurrent(nn.Module):
    """The last state of one recurrent layer, and a head."""

    cell: type[nn.Module]

    def __init__(self, shape: Sequence[int], outputs: int, width: int = 24) -> None:
        super().__init__()
        self.cells, self.head = self.cell(shape[-1], width, batch_first=True), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])


class Rnn(_Recurrent):
    cell = nn.RNN


class Lstm(_Recurrent):
    cell = nn.LSTM


class Gru(_Recurrent):
    cell = nn.GRU


class TextLstm(nn.Module):
    """Characters, their embedding, one LSTM, a head on its last state."""

    def __init__(self, shape: Sequence[int], outputs: int, symbols: int = 65, width: int = 24) -> None:
        super().__init__()
        self.embed, self.cells = nn.Embedding(symbols, 12), nn.LSTM(12, width, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(self.embed(x))[0][:, -1])


class TextGru(nn.Module):
    """Characters, their embedding, two layers of GRU cells, a head on the last state."""

    def __init__(self, shape: Sequence[int], outputs: int, symbols: int = 65, width: int = 16) -> None:
        super().__init__()
        self.embed, self.cells = nn.Embedding(symbols, 10), nn.GRU(10, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(self.embed(x))[0][:, -1])


class Transformer(nn.Module):
    """Characters with their places, one block of attention, a head on the last."""

    def __init__(self, shape: Sequence[int], outputs: int, symbols: int = 65, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.place = nn.Parameter(0.1 * torch.randn(shape[0], width))
        self.block = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.embed(x) + self.place)[:, -1])


class LayerNormed(nn.Module):
    """A stem, blocks x + W₂ gelu(W₁ norm(x)), a head behind a last layer norm."""

    def __init__(self, shape: Sequence[int], outputs: int, width: int = 24, blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Linear(torch.Size(shape).numel(), width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(blocks)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x.flatten(1))
        for block in self.blocks:
            h = h + block(h)
        return self.head(self.norm(h))


class SiluCNN(nn.Module):
    """Two convolutions of stride 2 with batch norm and SiLU, a wide head."""

    def __init__(self, shape: Sequence[int], outputs: int, channels: Sequence[int] = (8, 12), hidden: int = 24) -> None:
        super().__init__()
        a, b = channels
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], a, 5, stride=2, padding=2), nn.BatchNorm2d(a), nn.SiLU(),
            nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.SiLU(),
        )  # fmt: skip
        n = b * -(-shape[1] // 4) * -(-shape[2] // 4)
        self.head = nn.Sequential(nn.Linear(n, hidden), nn.SiLU(), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


class TextRnn(nn.Module):
    """Characters, their embedding, one layer of tanh cells, a head on the last and the mean state."""

    def __init__(self, shape: Sequence[int], outputs: int, symbols: int = 65, width: int = 32) -> None:
        super().__init__()
        self.embed, self.cells = nn.Embedding(symbols, 16), nn.RNN(16, width, batch_first=True)
        self.head = nn.Linear(2 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states = self.cells(self.embed(x))[0]
        return self.head(torch.cat([states[:, -1], states.mean(1)], 1))
