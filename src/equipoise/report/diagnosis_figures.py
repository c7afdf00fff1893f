"""The figures of a diagnosis, by layer and by step: each with what the rules say of it, and its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from . import diagnosis_plots as plots
from .findings import number, percent, verdict
from .markup import Column, figure, key, numbers, paragraphs

if TYPE_CHECKING:
    from ..doctor.diagnose import Diagnosis

DRIFT = "e-folds over the depth"
LAYERS = 8  # drawn in a figure at most; the tables have all


def _figure(drawing: str, title: str, verdict: str, how: str, numbers_table: str) -> str:
    return figure(drawing, f"<b>{escape(title)}.</b> {verdict} {escape(how)}", numbers_table)


def _spread(items: Sequence[Any]) -> list[Any]:
    """At most LAYERS of them, first and last among them."""
    if len(items) <= LAYERS:
        return list(items)
    return [items[round(i * (len(items) - 1) / (LAYERS - 1))] for i in range(LAYERS)]


def column(title: str, name: str) -> Column:
    return Column(title, lambda r: number(r[name]))


def by_layer(d: Diagnosis) -> str:
    """Histograms of the activations, scale of the signal, and gradient flow, by depth."""
    c = d.chart
    learned = "nothing" if not c.learned > 0 else f"{percent(c.learned)} of the loss of the best constant"
    told = (
        f"By the end training had explained {learned} on the probe rows. Most rules read that too: a number beyond its "
        "threshold is no finding where training gets on in spite of it."
    )
    scale = (DRIFT,) if any(m.unit == DRIFT for m in d.measures) else ("second moment",)
    columns = [
        key("Layer", "layer"), column("mean a², start", "scale_start"), column("end", "scale_end"),
        column("RMS of ∂L/∂W, early", "gradient_early"), column("end", "gradient_end"),
    ]  # fmt: skip
    table = lambda name: numbers(name, "activations and gradients by layer", columns, [vars(v) for v in c.depths])  # noqa: E731
    layers = [v.layer for v in c.depths]
    scales = {"start": [v.scale_start for v in c.depths], "end": [v.scale_end for v in c.depths]}
    flow = {"early": [v.gradient_early for v in c.depths], "end": [v.gradient_end for v in c.depths]}
    signal = _figure(
        plots.by_depth("scales", "Mean square of the activations by layer.", "mean a²", layers, scales),
        "Scale of the signal by depth",
        verdict(d, "activation_profile", units=scale),
        "A straight slope is the law S^(m−1): each layer multiplies by the same factor.",
        table("depth"),
    )
    gradients = _figure(
        plots.by_depth("flow", "Root mean square of the weight gradients by layer.", "RMS of ∂L/∂W", layers, flow),
        "Gradient flow by depth",
        verdict(d, "gradient_profile", "symmetry", units=("first over last layer",)),
        "After three steps, and at the end, on the probe rows; what is 0 is not drawn.",
        table("flow"),
    )
    return paragraphs(told) + _histograms(d, scale) + signal + gradients


def _histograms(d: Diagnosis, scale: Sequence[str]) -> str:
    c = d.chart
    drawn = _spread(c.histograms)
    if not drawn:
        return ""
    some = "" if len(drawn) == len(c.histograms) else f" {len(drawn)} of {len(c.histograms)} layers are drawn."
    states = ("activation_profile", "saturation", "dead_units", "linear_range", "unequal_ranges")
    return _figure(
        plots.histograms("Histograms of the hidden layers' activations; the table has them.", c.edges, drawn),
        "Activations by depth",
        verdict(d, *states, units=scale),
        "Share of activations in equal bins, all layers on one scale, on the probe rows; the outermost bins hold what "
        f"lies beyond.{some}",
        _histogram_table(d),
    )


def _histogram_table(d: Diagnosis) -> str:
    c, n = d.chart, len(d.chart.histograms[0].start)
    width = (c.edges[1] - c.edges[0]) / n
    full = [
        {"layer": h.layer, "from": c.edges[0] + i * width, "to": c.edges[0] + (i + 1) * width, "start": a, "end": b}
        for h in c.histograms
        for i, (a, b) in enumerate(zip(h.start, h.end, strict=True))
    ]
    short = [
        {"layer": h.layer, "activation": h.activation or "none"}
        | {k: max(v) for k, v in (("start", h.start), ("end", h.end))}
        for h in c.histograms
    ]
    columns = [
        key("Layer", "layer"), key("Activation", "activation"), column("Largest bin, start", "start"),
        column("end", "end"),
    ]  # fmt: skip
    return numbers("histograms", "histograms, every bin in the CSV", columns, short, full)


def by_step(d: Diagnosis) -> str:
    c = d.chart
    points = [{"c": x, "loss": y} for x, y in zip(c.lengths, c.along, strict=True)]
    out = [
        _figure(
            plots.losses("Training loss by step.", c),
            "Loss by step",
            verdict(
                d, "gradient_spikes", "generalization_gap",
                units=("p99/p50 of ‖g‖", "end loss in losses of a constant", "lower 95 % bound of L_stop − L_fit"),
            ),
            "Of the batches as they were trained on, against the best constant prediction.",
            _steps_table("losses", "loss of every batch", range(len(c.losses)), {"loss": c.losses}),
        ),
        _figure(
            plots.along_update("Loss along the direction of one update.", c),
            "Loss along the update",
            verdict(d, "landscape", "update_shape", units=("step times β", "α of the step")),
            "On the probe rows, halfway; 0 is where training stood, 1 where its step went.",
            numbers("along", "loss along the update", [column("c", "c"), column("loss", "loss")], points),
        ),
        _figure(
            plots.ratios("Size of the update over size of the weight by step.", c.ratio_steps, c.ratios, 1e-5, 1e-1),
            "Update over weight by step",
            verdict(d, "update_ratio", units=("‖ΔW‖/‖W‖ a step, median of layers",)),
            "Thin lines: layers. Shaded: the usual range.",
            _steps_table("ratios", "‖ΔW‖/‖W‖ by layer", c.ratio_steps, c.ratios),
        ),
        _figure(
            plots.by_step("Root mean square of the gradients by step.", "RMS of ∂L/∂W", c.look_steps, c.gradients),
            "Gradients by step",
            verdict(d, "gradient_noise", units=("batch size over noise scale",)),
            "Thin lines: the layers between the first and the last.",
            _steps_table("gradients", "root mean square of ∂L/∂W by layer", c.look_steps, c.gradients),
        ),
    ]  # fmt: skip
    return "".join(out)


def _steps_table(name: str, caption: str, steps: Sequence[int], lines: Mapping[str, Sequence[float]]) -> str:
    """Some steps in the table, all in its CSV."""
    full = [{"step": s} | {k: v[i] for k, v in lines.items()} for i, s in enumerate(steps)]
    columns = [Column("Step", lambda r: str(r["step"])), *(column(k, k) for k in _spread(list(lines)))]
    return numbers(name, f"{caption}, every step in the CSV", columns, _spread(full), full)
