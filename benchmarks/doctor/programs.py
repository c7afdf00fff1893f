"""The base programs: set-ups that train well. Some calibrate, the others are held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.recipe import Recipe, resolve
from equipoise.technique import Technique

from . import fresh, nets, sources

CALIBRATE, HELD_OUT = "calibrate", "held out"


@dataclass(frozen=True)
class Setup:
    """One training: what `equipoise.doctor` is given."""

    data: Data
    build: Callable[[], nn.Module] | nn.Module
    recipe: tuple[Technique, ...]
    epochs: int
    batch: int
    shuffle: str = "each"

    def resolved(self) -> Recipe:
        return resolve(Recipe(*self.recipe), self.data.task)


@dataclass(frozen=True)
class Program:
    """A healthy set-up by name. ``traits`` say which faults and controls can befall it."""

    name: str
    part: str
    source: Callable[[], Data]
    net: Callable[..., nn.Module]  # (shape, outputs) → network
    recipe: tuple[Technique, ...]
    epochs: int
    batch: int
    traits: frozenset[str]

    def setup(self) -> Setup:
        data = self.source()
        shape, outputs = tuple(data.inputs[0].shape[1:]), data.outputs
        return Setup(data, partial(self.net, shape, outputs), self.recipe, self.epochs, self.batch)


def _program(part: str, name: str, source: Any, net: Any, *recipe: Technique, epochs: int, batch: int, traits: str):
    return Program(name, part, source, net, recipe, epochs, batch, frozenset(traits.split()))


_calibrate, _held_out = partial(_program, CALIBRATE), partial(_program, HELD_OUT)

# Traits: the activation of hidden layers (relu, tanh, sigmoid); norm: batch norms whose statistics are made of rows
# alone; normed: something renews the scale of the signal; dropout-site: batch norms of pictures; technique: the recipe
# normalizes; residual; recurrent; tokens: whole numbers, which have no scale; numbers: a table with none but numbers;
# regress: what is told is no class.
PROGRAMS: tuple[Program, ...] = (
    _calibrate(
        "digits-relu", sources.digits, partial(nets.MLP, hidden=(32, 32)), T.AdamW(3e-3),
        epochs=8, batch=32, traits="relu",
    ),
    _calibrate(
        "cancer-tanh-deep", partial(sources.sklearn_table, "breast_cancer"),
        partial(nets.MLP, hidden=(16,) * 6, activation="tanh"), T.Momentum(0.03),
        epochs=10, batch=16, traits="tanh numbers",
    ),
    _calibrate(
        "wine-sigmoid", partial(sources.sklearn_table, "wine"),
        partial(nets.MLP, hidden=(16, 16), activation="sigmoid"), T.Adam(2e-2),
        epochs=15, batch=8, traits="sigmoid numbers",
    ),
    _calibrate(
        "digits-cnn", partial(sources.digits, "image"), partial(nets.CNN, channels=(4, 8), hidden=32), T.Momentum(0.05),
        epochs=10, batch=32, traits="relu",
    ),
    _calibrate(
        "cancer-norm", partial(sources.sklearn_table, "breast_cancer"), nets.NormMLP, T.Momentum(0.03),
        epochs=10, batch=16, traits="norm normed numbers",
    ),
    _calibrate(
        "diabetes-relu", partial(sources.sklearn_table, "diabetes"), partial(nets.MLP, hidden=(16,)), T.Adam(5e-3),
        epochs=8, batch=16, traits="relu numbers regress",
    ),
    _calibrate(
        "digits-residual", sources.digits, nets.ResidualMLP, T.SGD(0.1),
        epochs=8, batch=32, traits="residual relu",
    ),
    _calibrate(
        "digits-lstm", partial(sources.digits, "sequence"), nets.Lstm, T.Adam(1e-2),
        epochs=8, batch=32, traits="recurrent",
    ),
    _calibrate(
        "quality-norm", sources.quality, nets.NormMLP, T.AdamW(5e-3),
        epochs=8, batch=32, traits="norm normed numbers",
    ),
    _calibrate(
        "mnist-relu-deep", sources.mnist, partial(nets.deep, width=32, layers=5), T.Momentum(0.02),
        epochs=7, batch=32, traits="relu",
    ),
    _calibrate(
        "fashion-tanh", sources.fashion, partial(nets.MLP, hidden=(32, 32), activation="tanh"), T.AdamW(2e-3),
        epochs=7, batch=32, traits="tanh",
    ),
    _calibrate(
        "credit-sigmoid", sources.credit, partial(nets.MLP, hidden=(16, 16), activation="sigmoid"), T.Adam(5e-3),
        epochs=10, batch=32, traits="sigmoid",
    ),
    _calibrate(
        "mnist-cnn-norm", partial(sources.mnist, "image", 4), nets.NormCNN, T.Momentum(0.03),
        epochs=7, batch=32, traits="normed dropout-site",
    ),
    _calibrate(
        "houses-batch-norm", sources.houses, partial(nets.MLP, hidden=(32, 32)), T.BatchNorm(), T.AdamW(1e-2),
        epochs=6, batch=32, traits="norm normed numbers technique regress",
    ),
    _calibrate(
        "fashion-resnet", partial(sources.fashion, "image", 4), partial(nets.ResNet, widths=(8,), blocks=1),
        T.AdamW(5e-3), epochs=7, batch=32, traits="residual relu",
    ),
    _calibrate(
        "text-transformer", sources.text, nets.Transformer, T.AdamW(3e-3),
        epochs=5, batch=64, traits="tokens normed",
    ),
    _calibrate(
        "mnist-autoencoder", sources.mnist_copied, partial(nets.MLP, hidden=(24, 12, 24)), T.Adam(5e-3),
        epochs=7, batch=32, traits="relu regress",
    ),
    _calibrate(
        "mnist-gru", partial(sources.mnist, "sequence", 4), nets.Gru, T.Adam(1e-2),
        epochs=7, batch=32, traits="recurrent",
    ),
    _calibrate(
        "adult-tanh", sources.adult, partial(nets.MLP, hidden=(24, 24, 24), activation="tanh"), T.Momentum(0.05),
        epochs=12, batch=64, traits="tanh",
    ),
    _calibrate(
        "abalone-relu", sources.abalone, partial(nets.MLP, hidden=(24, 24, 24)), T.RMSprop(2e-3),
        epochs=7, batch=32, traits="relu regress",
    ),
    _calibrate(
        "bike-norm", sources.bikes, partial(nets.NormAfter, hidden=(32, 32, 32)), T.AdamW(1e-2),
        epochs=10, batch=48, traits="norm normed numbers regress",
    ),
    _calibrate(
        "white-sigmoid", sources.white, partial(nets.MLP, hidden=(24,), activation="sigmoid"), T.Adam(2e-2),
        epochs=10, batch=24, traits="sigmoid numbers",
    ),
    _calibrate(
        "cifar-cnn", partial(sources.cifar, 2), partial(nets.CNN, channels=(8, 16), hidden=24), T.Momentum(0.02),
        epochs=8, batch=32, traits="relu",
    ),
    _calibrate(
        "fashion-norm-cnn", partial(sources.fashion_tested, 2), nets.StrideCNN, T.Adam(1e-2),
        epochs=6, batch=40, traits="normed dropout-site",
    ),
    _calibrate(
        "mnist-resnet", partial(sources.mnist_tested, "image", 2), partial(nets.ResNet, widths=(8, 16), blocks=1),
        T.Adam(1e-2), epochs=8, batch=32, traits="residual relu",
    ),
    _calibrate(
        "mnist-rnn", partial(sources.mnist_tested, "sequence", 4), partial(nets.Rnn, width=32), T.RMSprop(2e-3),
        epochs=9, batch=32, traits="recurrent",
    ),
    _calibrate(
        "text-lstm", sources.letters, nets.TextLstm, T.AdamW(1e-2),
        epochs=6, batch=64, traits="tokens recurrent",
    ),
    _calibrate(
        "bike-gru", sources.bike_hours, partial(nets.Gru, width=16), T.Adam(1e-2),
        epochs=8, batch=32, traits="recurrent regress",
    ),
    _calibrate(
        "cars-relu", sources.cars, partial(nets.MLP, hidden=(24, 16)), T.Nesterov(0.01),
        epochs=20, batch=12, traits="relu numbers regress",
    ),
    _calibrate(
        "coast-tanh", sources.coast, partial(nets.MLP, hidden=(20, 20, 20, 20), activation="tanh"), T.RMSprop(3e-3),
        epochs=8, batch=24, traits="tanh numbers",
    ),
    _calibrate(
        "colour-norm", sources.colours, partial(nets.NormMLP, width=20), T.SGD(0.1),
        epochs=6, batch=20, traits="norm normed numbers",
    ),
    _calibrate(
        "season-sigmoid", sources.seasons, partial(nets.MLP, hidden=(32, 16), activation="sigmoid"), T.AdamW(1e-2),
        epochs=12, batch=32, traits="sigmoid numbers",
    ),
    _calibrate(
        "parity-cnn", sources.parity, partial(nets.CNN, channels=(6, 8), hidden=24), T.AdamW(3e-3),
        epochs=7, batch=28, traits="relu",
    ),
    _calibrate(
        "shoes-resnet", sources.shoes, partial(nets.ResNet, widths=(6, 8), blocks=1), T.Nesterov(0.1),
        epochs=10, batch=30, traits="residual relu",
    ),
    _calibrate(
        "vehicle-norm-cnn", sources.vehicles, partial(nets.StrideCNN, channels=(8, 10, 12)), T.RMSprop(3e-3),
        epochs=6, batch=32, traits="normed dropout-site",
    ),
    _calibrate(
        "column-rnn", sources.columns, partial(nets.Rnn, width=28), T.Adam(3e-3),
        epochs=9, batch=25, traits="recurrent",
    ),
    _calibrate(
        "syllable-gru", sources.syllables, nets.TextGru, T.Adam(6e-3),
        epochs=6, batch=50, traits="tokens recurrent",
    ),
    _calibrate(
        "humidity-lstm", sources.humid_hours, partial(nets.Lstm, width=16), T.AdamW(1e-2),
        epochs=10, batch=36, traits="recurrent regress",
    ),
    _calibrate(
        "visits-relu", fresh.visits, partial(nets.MLP, hidden=(16, 16)), T.AdamW(5e-3),
        epochs=6, batch=32, traits="relu numbers",
    ),
    _calibrate(
        "shells-tanh", fresh.shells, partial(nets.MLP, hidden=(16,), activation="tanh"), T.Momentum(0.05),
        epochs=8, batch=32, traits="tanh numbers",
    ),
    _held_out(
        "votes-tanh", fresh.votes, partial(nets.MLP, hidden=(12,), activation="tanh"), T.SGD(0.05),
        epochs=10, batch=20, traits="tanh numbers",
    ),
    _held_out(
        "schools-relu", fresh.schools, partial(nets.MLP, hidden=(20, 20)), T.Momentum(0.02), T.L2(1e-3),
        epochs=25, batch=16, traits="relu numbers regress",
    ),
    _held_out(
        "boston-norm", fresh.boston, partial(nets.NormMLP, width=24), T.RMSprop(5e-3),
        epochs=15, batch=16, traits="norm normed numbers regress",
    ),
    _held_out(
        "marriage-sigmoid", fresh.marriages, partial(nets.MLP, hidden=(16,), activation="sigmoid"), T.AdamW(2e-2),
        epochs=8, batch=32, traits="sigmoid numbers",
    ),
    _held_out(
        "deer-norm-cnn", fresh.deer, nets.SiluCNN, T.Nesterov(0.01),
        epochs=6, batch=32, traits="normed dropout-site",
    ),
    _held_out(
        "sleeve-layer-norm", fresh.sleeves, nets.LayerNormed, T.Adam(1.5e-3), T.ClipGradients(5.0),
        epochs=8, batch=40, traits="residual normed",
    ),
    _held_out(
        "nines-cnn-dropout", fresh.nines, partial(nets.CNN, channels=(6, 10), hidden=32), T.Momentum(0.02),
        T.Dropout(0.2), epochs=8, batch=25, traits="relu",
    ),
    _held_out(
        "halves-tanh", fresh.halves, partial(nets.MLP, hidden=(40, 24), activation="tanh"), T.Adam(4e-3),
        epochs=8, batch=32, traits="tanh regress",
    ),
    _held_out(
        "ending-rnn", fresh.endings, nets.TextRnn, T.AdamW(5e-3, decay=0.01),
        epochs=8, batch=50, traits="tokens recurrent",
    ),
    _held_out(
        "carbon-lstm", fresh.carbon, partial(nets.Lstm, width=20), T.Adam(1e-2),
        epochs=14, batch=32, traits="recurrent regress",
    ),
)  # fmt: skip
