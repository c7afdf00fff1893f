"""Networks as users write them: the conformance models of CONTRACT §7, none written for this library."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.fc = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 8, 3), nn.Linear(8 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.c2(F.relu(self.c1(x), inplace=True))).flatten(1))


class Residual(nn.Module):
    """Functional additions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4, 3)
        self.a1, self.a2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.b1, self.b2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.stem(x))
        h = F.relu(h + self.a2(F.relu(self.a1(h))))
        h = F.relu(h + self.b2(F.relu(self.b1(h))))
        return self.head(h.mean((2, 3)))


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x)[0][:, -1])


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.embed, self.encoder, self.fc = nn.Linear(4, 8), nn.TransformerEncoder(layer, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(self.embed(x)).mean(1))


class Shared(nn.Module):
    """Tied weights, a module called twice, a frozen parameter, an in-place activation: an autoencoder with a head."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.twice, self.fixed, self.head = (
            nn.Linear(6, 6),
            nn.Linear(6, 6),
            nn.Linear(6, 6),
            nn.Linear(12, 3),
        )
        self.dec = nn.Linear(6, 6)
        self.dec.weight = self.enc.weight
        self.fixed.weight.requires_grad_(False)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.twice(self.act(self.twice(self.act(self.enc(x))))))
        return self.head(torch.cat([self.fixed(h), self.dec(h)], 1))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 8), nn.Linear(2, 8), nn.Linear(16, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head(torch.cat([F.relu(self.left(a)), F.relu(self.right(b))], 1))


class OwnLayers(nn.Module):
    """Its own BatchNorm and Dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.bn, self.drop, self.fc = (
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4),
            nn.Dropout(0.3),
            nn.Linear(4 * 36, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(F.relu(self.bn(self.c(x))).flatten(1)))


def pretrained() -> nn.Module:
    """A Sequential that has been trained elsewhere: its start values must be kept."""
    net = mlp()
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(torch.linspace(-0.5, 0.5, p.numel()).view_as(p) * (1 + i / 10))
    return net


FOR = {  # which data each is made for
    "mlp": (mlp, "table"), "cnn": (Cnn, "images"), "residual": (Residual, "images"), "lstm": (Lstm, "sequences"),
    "transformer": (Transformer, "sequences"), "shared": (Shared, "table"), "own layers": (OwnLayers, "images"),
    "pretrained": (pretrained, "table"), "two inputs": (TwoInputs, "two"),
}  # fmt: skip
