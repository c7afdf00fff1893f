from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import EquipoiseError
from ...technique import Technique, option
from ._regions import UNIT, FixedFractionalMaxPool2d, pool, pseudorandom_edges, random_edges

FIRST = 0x8000  # the n-th pooling layer draws at "site" FIRST + n


class FractionalMaxPool(Technique):
    """Max pooling that shrinks an image by α between 1 and 2, over regions drawn anew for every batch.

    Row and column edges 0 = a_0 < a_1 < … have steps of one and two, ⌊H/α⌋ of them; region i is a_i … a_{i+1} − 1
    (`disjoint`) or a_i … a_{i+1} (`overlapping`), and the output is the maximum over (rows of i) × (columns of j).
    `random`: the steps stand in random order, every order equally likely; `pseudorandom`: a_i = ⌈α(i + u)⌉ − ⌈αu⌉,
    u ~ U[0, 1). Prediction uses the fixed regions of u = ½, or the mean over draws (MonteCarlo).

    It takes the place of MaxPool2d and AvgPool2d layers, so the layers behind must take images of another size: they do
    up to a global or adaptive pooling. On export the fixed regions stand in the layer's place.

    Options: `alpha` = α in (1, 2), default √2; `where` = "all" (default: every MaxPool2d and AvgPool2d), or names;
        `sequence` = "random" or "pseudorandom"; `regions` = "disjoint" or "overlapping".
    Shapes: (B, C, H, W) to (B, C, ⌊H/α⌋, ⌊W/α⌋); where steps of one and two do not reach, the nearest number that does.
    Errors: no pooling layer; a `where` that names none; a layer that returns indices; a network that does not take the
        new sizes.
    Trade: noise in space, and gentler steps down, so more layers: variance down; the mean over T draws is where most of
        the gain is, at T times the cost of prediction. Costs about twice a max pooling.
    Source: Graham (2014); deck D1.
    """

    place = ("where",)
    random = True
    kinds = ("image",)
    alpha: float = option(2**0.5)
    where: Any = option("all")
    sequence: str = option("random", choices=("random", "pseudorandom"))
    regions: str = option("disjoint", choices=("disjoint", "overlapping"))

    def check(self) -> None:
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float) or not 1 < self.alpha < 2:
            raise EquipoiseError(f"{self!r}: alpha lies between 1 and 2, both excluded; default √2.")

    @property
    def overlapping(self) -> bool:
        return self.regions == "overlapping"

    def layers(self, net: Any, module: nn.Module) -> dict[str, Any]:
        """The chosen pooling layers of ``module`` (our copy, or the plain model) by name, in its order."""
        named = {n: module.get_submodule(n) for n in net.calls}
        pools = {n: m for n, m in named.items() if isinstance(m, nn.MaxPool2d | nn.AvgPool2d)}
        if self.where == "all":
            if not pools:
                raise EquipoiseError(
                    f"{self!r} finds no MaxPool2d or AvgPool2d layer that is called (functions are out of reach)."
                )
            return pools
        patterns = (self.where,) if isinstance(self.where, str) else self.where
        for p in patterns:
            if not any(fnmatchcase(n, p) for n in pools):
                known = ", ".join(pools) or "none"
                raise EquipoiseError(f"{self!r}: {p!r} names no pooling layer that is called. There are: {known}.")
        return {n: m for n, m in pools.items() if any(fnmatchcase(n, p) for p in patterns)}

    # --- in the step --------------------------------------------------------------------------------------------------
    def build(self, net: Any) -> None:
        for number, (name, layer) in enumerate(self.layers(net, net.module).items()):
            if getattr(layer, "return_indices", False):
                raise EquipoiseError(f"{self!r}: {name} returns indices, which regions of two sizes do not have.")
            if "forward" in vars(layer):
                raise EquipoiseError(f"{self!r}: {name} is replaced by another entry already; name others with where=.")
            net.reserve(self.key, FIRST + number, net.calls[name])
            layer.forward = self._forward(net, layer, FIRST + number)
        self._try(net)

    def _forward(self, net: Any, layer: nn.Module, place: int) -> Any:
        key = self.key

        def forward(x: Tensor) -> Tensor:
            now = net.current
            noise = None if now is None else now.noise(key, place, now.count(layer))
            rows, columns = (self.edges(n, noise, x.device) for n in x.shape[-2:])
            return pool(x, rows, columns, self.overlapping)

        return forward

    def edges(self, n: int, noise: Any, device: torch.device) -> Tensor:
        """The edges along an axis of n pixels: of this pass, or fixed."""
        if noise is None:
            return pseudorandom_edges(n, self.alpha, self.overlapping, UNIT // 2).to(device)
        if self.sequence == "random":
            return random_edges(n, self.alpha, self.overlapping, noise)
        draw = (noise.uniform((1,), shared=True) * UNIT).long()
        return pseudorandom_edges(n, self.alpha, self.overlapping, draw)

    def _try(self, net: Any) -> None:
        """One pass of zeros: does the network take the new sizes?"""
        first = next((s for s in net.sites if s.reads_input), None)
        if first is None:
            return
        like = next(net.module.parameters())
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                net.module.eval()(torch.zeros(2, *first.shapes[0], dtype=like.dtype, device=like.device))
        except EquipoiseError:
            raise
        except RuntimeError as e:
            reason = str(e).strip().splitlines()[0]
            raise EquipoiseError(
                f"{self!r} changes the sizes of images, and the network does not take them ({reason}): put an "
                "AdaptiveAvgPool2d before its dense layers, or leave it out."
            ) from e
        finally:
            net.module.train()

    # --- the way back -------------------------------------------------------------------------------------------------
    def fold(self, plain: Any, net: Any, tensors: Mapping[str, Tensor]) -> list[str]:
        layers = self.layers(net, plain)
        for layer in layers.values():
            layer.__class__ = FixedFractionalMaxPool2d
            layer.alpha, layer.overlapping = self.alpha, self.overlapping
        return [f"FractionalMaxPool stands in place of {', '.join(layers)}, with fixed regions."]
