"""Small reference networks: plain, without normalization or dropout, with PyTorch's own start values.

What else they need is a technique, and comes with a recipe.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .errors import EquipoiseError, nearest
from .literals import call

Builder = Callable[[], nn.Module]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


class MLP(nn.Module):
    """Fully connected layers: h₀ = flatten(x), hₗ = φ(Wₗ hₗ₋₁ + bₗ), output = W h + b.

    x: (B, …) of any shape; output: (B, outputs). ``hidden``: widths of the hidden layers, ``()`` for a linear model.
    Layers: ``layers.0``, ``layers.1``, …, ``head``.
    """

    def __init__(
        self, shape: Sequence[int], outputs: int, hidden: Sequence[int] = (128, 128), activation: str = "relu"
    ) -> None:
        super().__init__()
        widths = [torch.Size(shape).numel(), *_sizes("mlp", "hidden", hidden)]
        self.activation = _activation("mlp", activation)
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = self.activation(layer(x))
        return self.head(x)


class CNN(nn.Module):
    """Convolutions, each followed by φ and 2×2 max pooling, then one fully connected layer (LeCun et al. 1998).

    x: (B, C, H, W) with H, W ≥ 2^len(channels); output: (B, outputs). ``channels``: of each convolution; ``kernel``:
    odd width of their windows (padded, so that only pooling shrinks); ``hidden``: width of the fully connected layer.
    Layers: ``convs.0``, ``convs.1``, …, ``dense``, ``head``.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        channels: Sequence[int] = (32, 64),
        hidden: int = 128,
        kernel: int = 3,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        inputs, height, width = _image("cnn", shape)
        widths = [inputs, *_sizes("cnn", "channels", channels, least=1)]
        halvings = len(widths) - 1
        if min(height, width) < 2**halvings:
            raise EquipoiseError(
                f"cnn halves the image {halvings} times, so it needs {2**halvings}×{2**halvings} pixels or more, got "
                f"{height}×{width}: give fewer channels=, or use resnet or mlp."
            )
        kernel, hidden = _size("cnn", "kernel", kernel), _size("cnn", "hidden", hidden)
        if kernel % 2 == 0:
            raise EquipoiseError(f"cnn(kernel={kernel}): kernel is odd, so that the window has a middle; default 3.")
        self.activation = _activation("cnn", activation)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, kernel, padding=kernel // 2) for i, o in pairwise(widths))
        self.dense = nn.Linear(widths[-1] * (height >> halvings) * (width >> halvings), hidden)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.max_pool2d(self.activation(conv(x)), 2)
        return self.head(self.activation(self.dense(x.flatten(1))))


class Residual(nn.Module):
    """φ(x + f(x)) with f = convolution, φ, convolution; x: (B, width, H, W), same shape out (He et al. 2016)."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.activation = _activation("resnet", activation)
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            _activation("resnet", activation),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.branch(x))


class ResNet(nn.Module):
    """A stem, ``blocks`` residual blocks per width, stride-2 convolutions between widths, global mean (He et al. 2016).

    x: (B, C, H, W) of any size; output: (B, outputs). Every residual addition is an identity plus a branch, so that
    each branch can be dropped. Layers: ``stem``, ``layers.0.branch.0``, …, ``head``.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        widths: Sequence[int] = (16, 32, 64),
        blocks: int = 1,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        inputs, _, _ = _image("resnet", shape)
        width, *wider = _sizes("resnet", "widths", widths, least=1)
        blocks = _size("resnet", "blocks", blocks)
        self.activation = _activation("resnet", activation)
        self.stem = nn.Conv2d(inputs, width, 3, padding=1)
        layers: list[nn.Module] = [Residual(width, activation) for _ in range(blocks)]
        for next_width in wider:
            layers += [nn.Conv2d(width, next_width, 3, stride=2, padding=1), _activation("resnet", activation)]
            layers += [Residual(next_width, activation) for _ in range(blocks)]
            width = next_width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.activation(self.stem(x))).mean((2, 3)))


NETWORKS: dict[str, type[nn.Module]] = {"mlp": MLP, "cnn": CNN, "resnet": ResNet}


def reference_names() -> tuple[str, ...]:
    """The names of the reference networks."""
    return tuple(NETWORKS)


def build(spec: str, shape: Sequence[int], outputs: int) -> Builder:
    """The builder of a reference network, ``"mlp"`` or ``"mlp(hidden=(64, 64))"``, for rows of ``shape``.

    Raises EquipoiseError: no call of literals, unknown network or option, value out of range, data that do not fit.
    """
    try:
        name, args, kwargs = call(spec)
    except ValueError as e:
        raise EquipoiseError(f"--model: {e}") from None
    if name not in NETWORKS:
        raise EquipoiseError(
            f"unknown network {name!r}.{nearest(name, NETWORKS)} Reference networks: {', '.join(NETWORKS)}; "
            "your own is module:function or path/file.py:function."
        )
    network = NETWORKS[name]
    options = list(inspect.signature(network).parameters)[2:]
    for key in kwargs:
        if key not in options:
            raise EquipoiseError(f"{name} has no option {key!r}.{nearest(key, options)} It takes {', '.join(options)}.")
    if len(args) > len(options) or set(options[: len(args)]) & set(kwargs):
        raise EquipoiseError(
            f"{spec!r}: {name} takes each of {', '.join(options)} once, got {len(args) + len(kwargs)} values."
        )
    builder = partial(network, tuple(shape), outputs, **dict(zip(options, args, strict=False)), **kwargs)
    with torch.device("meta"):  # refuses wrong values now, at no cost
        builder()
    return builder


def _sizes(network: str, option: str, value: Any, least: int = 0) -> list[int]:
    """``value`` as a list of whole numbers ≥ 1; one number counts as a list of one."""
    numbers = list(value) if isinstance(value, tuple | list) else [value]
    if len(numbers) < least or not all(type(n) is int and n >= 1 for n in numbers):
        raise EquipoiseError(f"{network}({option}={value!r}): {option} holds whole numbers from 1 up.")
    return numbers


def _size(network: str, option: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise EquipoiseError(f"{network}({option}={value!r}): {option} is a whole number from 1 up.")
    return value


def _activation(network: str, name: Any) -> nn.Module:
    if name not in ACTIVATIONS:
        hint = nearest(str(name), ACTIVATIONS)
        raise EquipoiseError(f"{network}(activation={name!r}): one of {', '.join(ACTIVATIONS)}.{hint}")
    return ACTIVATIONS[name]()


def _image(network: str, shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise EquipoiseError(
            f"{network} takes images (channels, height, width); a row of these data has shape {tuple(shape)}: use mlp."
        )
    channels, height, width = shape
    return channels, height, width
