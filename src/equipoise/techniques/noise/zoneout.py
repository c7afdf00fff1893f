from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...errors import EquipoiseError
from ...technique import Technique, knob, option
from ._zoned_cells import FixedZones, ZonedLayer, Zones, zoned


class Zoneout(Technique):
    """Recurrent units keep their old state now and then.

    Per step, unit and example, with the cell's own c̃ = f⊙c + i⊙g and h̃ = o⊙tanh(c̃):
    c′ = d_c⊙c + (1 − d_c)⊙c̃,  h′ = d_h⊙h + (1 − d_h)⊙h̃,  d_c ~ Bernoulli(z_cell), d_h ~ Bernoulli(z_hidden).
    h̃ uses c̃, not c′, and h′ is the output. RNN and GRU: h′ only. Prediction puts z in the place of d, without
    rescaling.

    It acts in the user's own nn.RNN, nn.GRU and nn.LSTM (any number of layers, both directions, batch_first,
    projections), whose parameters and names stay. z is the probability to keep the old value. (Some published scripts
    take 1 − z.) On export the layer keeps its parameters and names, and its class becomes one that mixes old and new
    states.

    Knobs: `z_cell`, `z_hidden` in [0, 1]; 1 freezes the state.
    Options: `where` = "all" (default: every recurrent layer), or names; `shared_mask` = draw d_c and d_h from one
        uniform number, so that at equal z a unit's two states are kept together.
    Shapes: inputs (T, B, F) or (B, T, F); c (…, B, hidden), h (…, B, hidden or projected).
    Errors: no recurrent layer that is called with a tensor; a `where` that names another layer; two entries at one
        layer; `shared_mask` with projections.
    Trade: variance down, bias up as z rises; gradients reach z of the way through time untouched. The layer is unrolled
        in time: 1.5 to 3 times the cost of PyTorch's own kernel on CPU (28 to 100 steps), more on CUDA.
    Source: Krueger et al. (2017), defaults those of character-level Penn Treebank; deck D2.
    """

    place = ("where",)
    off = {"z_cell": 0.0, "z_hidden": 0.0}
    random = True
    z_cell: float = knob(0.5, low=0.0, high=1.0)
    z_hidden: float = knob(0.05, low=0.0, high=1.0)
    where: Any = option("all")
    shared_mask: bool = option(False, choices=(False, True))

    def sites(self, net: Any) -> list[Any]:
        found = net.select(self.where, ("recurrent",))
        other = next((s.name for s in found if s.kind != "recurrent"), None)
        if other is not None:
            raise EquipoiseError(f"{self!r}: {other} is no RNN, GRU or LSTM; name one of those, or use Dropout.")
        if not found:
            raise EquipoiseError(
                f"{self!r} finds no RNN, GRU or LSTM that is called with a tensor ({net.describe()}): leave it out."
            )
        return found

    def build(self, net: Any) -> None:
        for site in self.sites(net):
            module = site.module
            if isinstance(module, ZonedLayer):
                raise EquipoiseError(f"{self!r}: another Zoneout acts in {site.name} already; name others with where=.")
            if self.shared_mask and module.proj_size:
                raise EquipoiseError(f"{self!r}: {site.name} projects h, so h and c have no units in common to share.")
            module.zones = self._zones_at(net, site)
            module.__class__ = zoned(type(module))
            del module.forward  # the site's entry calls the forward of the class it was patched with
            net._patch(site)

    def _zones_at(self, net: Any, site: Any) -> Any:
        key = self.key

        def zones() -> Zones:
            now = net.current
            if now is None:
                return Zones(0.0, 0.0)
            t, call = now.techniques[key], now.count(zones)
            return Zones(t.z_cell, t.z_hidden, now.noise(key, site.index, min(call, site.calls - 1)), t.shared_mask)

        return zones

    def fold(self, plain: Any, net: Any, tensors: Mapping[str, Tensor]) -> list[str]:
        notes = []
        for site in self.sites(net):
            module = plain.get_submodule(site.name)
            if self.z_hidden == 0 and (self.z_cell == 0 or module.mode != "LSTM"):
                continue
            module.__class__ = zoned(type(module))
            module.zones = FixedZones(self.z_cell, self.z_hidden)
            notes.append(f"Zoneout at {site.name} is kept as a {type(module).__name__}: it mixes old and new states.")
        return notes
