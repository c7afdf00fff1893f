"""What a sceptic asks for: the design, what failed, what to be careful about, and everything needed to repeat it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import numbers as num
from .markup import Column, bullets, code, key, numbers, paragraphs, section, terms

if TYPE_CHECKING:
    from ..study.finished import Study

# Measured by `python benchmarks/evidence/simulate.py` (benchmarks/evidence/results, decision 0014): coverage averaged
# over a study's rows where the model holds; "seed only" in "mostly example error"; the row whose effect moves with the
# seed, by seeds; averages where interactions that were not declared, or of three factors, are there.
STUDIES = 20_000
HELD, SEEDS_ONLY = (0.95, 0.97), (0.56, 0.76)
MOVING = {2: 0.89, 3: 0.91, 5: 0.93}
PLACEBOS, HELD_ZERO = 600, 0.905
UNDECLARED, THREE_FACTOR = (0.86, 0.91), (0.72, 0.85)
_RESOLUTIONS = {
    "III": "main effects are mixed up with two-factor interactions: a screening, not a proof",
    "IV": "main effects are clear of two-factor interactions; those may be mixed up with one another",
    "full": "every combination was run",
}


def design_section(study: Study) -> str:
    """The configurations that were run, their order and seeds, and what each estimate is mixed up with."""
    d = study.design
    meaning = _RESOLUTIONS.get(d.resolution, "main effects and two-factor interactions are clear of one another")
    rho = study.found.rho
    pairing = (
        f"Pairing correlation, measured: ρ = {rho:.2f}. Runs of one seed share their noise, so a difference of two "
        "arms has (1 − ρ) times the variance it would have on seeds of its own."
        if math.isfinite(rho)
        else "The pairing correlation could not be measured: no run differs from another by its seed alone."
    )
    declared = [" × ".join((d.factors[j].name, d.factors[k].name)) for j, k in d.interactions]
    facts = [
        ("Design", d.name),
        ("Resolution", f"{d.resolution}: {meaning}"),
        (
            "Runs",
            f"{study.trained.stop.size} = {d.configurations} configurations × {len(study.rates)} rates × "
            f"{len(study.seeds)} seeds",
        ),
        ("Seed blocks", ", ".join(map(str, study.seeds))),
        ("Declared interactions", ", ".join(declared) or "none"),
        ("Columns, signs and order drawn from", f"seed {d.seed}"),
        ("Programs", str(study.trained.programs)),
        ("Time", f"{num.duration(study.seconds.get('total', math.nan))} in all"),
    ]
    aliases = [{"estimate": k, "alias": v} for k, v in d.aliases.items()]
    coding = [
        {
            "factor": f.name,
            "column": column,
            "levels in order of the column’s signs": ", ".join(_level(f.levels, v) for v in signs),
        }
        for f, column, signs in zip(d.factors, d.columns, d.coding, strict=True)
    ]
    return section(
        "design",
        "Design",
        terms(facts),
        paragraphs(pairing),
        _configurations(study),
        numbers(
            "aliases",
            "what each estimate is mixed up with",
            [key("Estimate", "estimate"), key("Alias", "alias")],
            aliases,
        ),
        numbers("coding", "columns and signs", [key(k.capitalize(), k) for k in coding[0]], coding),
    )


def _configurations(study: Study) -> str:
    """The design matrix in words, with the order of running and the rates chosen."""
    d = study.design
    many = len(study.rates) > 1 and bool(study.chosen)
    order = {c: place + 1 for place, c in enumerate(d.order)}
    records = [
        {
            "configuration": c + 1,
            "run order": order.get(c, ""),
            **{f.name: _level(f.levels, int(v)) for f, v in zip(d.factors, row, strict=True)},
            **({"rates": ", ".join(f"×{r:g}" for r in study.chosen[c])} if many else {}),
        }
        for c, row in enumerate(d.matrix)
    ]
    columns = [key("Configuration", "configuration"), Column("Run order", lambda r: str(r["run order"]))]
    columns += [Column(f.name, lambda r, k=f.name: r[k], number=False) for f in d.factors]
    columns += [key("Rate chosen, by seed block", "rates")] if many else []
    return numbers("design", "configurations in full", columns, records)


def failures_section(study: Study) -> str:
    """Diverged runs by technique, and what the study was told or left out."""
    failed, total = int(study.trained.failed.sum()), study.trained.failed.size
    text = (
        f"{failed} of {total} runs diverged. They are scored as the fallback a user would have (the class-prior "
        "probabilities, or the mean) and none is left out."
        if failed
        else f"None of {total} runs diverged."
    )
    parts = [paragraphs(text, _capped(study))]
    if failed:
        d, mask = study.design, study.trained.failed
        records: list[dict[str, Any]] = [
            {
                "technique": name,
                "failed on": int(mask[d.matrix[:, k] == v].sum()),
                "failed off": int(mask[d.matrix[:, k] == 0].sum()),
            }
            for k, f in enumerate(d.factors)
            for v, name in enumerate(f.rows, 1)
        ]
        columns = [
            key("Technique", "technique"),
            Column("Diverged with it", lambda r: str(r["failed on"])),
            Column("Without it", lambda r: str(r["failed off"])),
        ]
        parts.append(numbers("failures", "diverged runs by technique", columns, records))
    if study.notes:
        parts += ["<h3>Notes</h3>", bullets(study.notes)]
    return section("failures", "Failures and notes", *parts)


def _capped(study: Study) -> str:
    """Runs that ended, but worse than the fallback; empty where there are none."""
    worst = [f"{n} with {name}" for name, n in study.capped.items() if n]
    if not worst:
        return ""
    return (
        "At the rates chosen, some runs ended, but worse than the class priors or the mean, and are scored as these: "
        f"{num.listed(worst)}."
    )


def caveats_section(study: Study) -> str:
    """What the numbers do not say."""
    moving = num.listed(f"{_percent(share)} of studies of {seeds} seeds" for seeds, share in MOVING.items())
    texts = [
        "The effects hold for this network, this training set and this learning-rate rule. Another data set may "
        "answer differently.",
        f"The 95 % interval is not exact. In simulated studies it held the truth in {_percent(*HELD)} where its model "
        "is true. Where one technique’s own effect moves with the seed, at four times the variance of the others, it "
        f"held that truth in {moving}. An interval that knows only the seeds held it in {_percent(*SEEDS_ONLY)} where "
        f"examples make most of the error (benchmarks/evidence/simulate.py, {STUDIES:,} studies of each kind).",
        f"In {PLACEBOS} real studies, on three paired seeds, of a placebo that does nothing but draw noise of its own, "
        f"the interval held zero in {100 * HELD_ZERO:.1f} % (benchmarks/evidence/placebo.py).",
        "Interactions that were not declared, and all of three factors, are assumed to be nothing; the alias table "
        "says with which pairs each estimate is mixed up. Simulated, intervals held the truth in "
        f"{_percent(*UNDECLARED)} of rows where all undeclared pairs interact by half a run-to-run standard deviation, "
        f"and in {_percent(*THREE_FACTOR)} where all threes do by a quarter of one.",
        "A run that diverged, or did worse than the class priors or the mean, is scored as these. So a technique at "
        "a rate at which nothing learns shows no effect, and extreme harm is shown as no more than that fallback.",
        "The rows that effects are measured on (assess) steer nothing; those that choose rates and stop runs (stop) "
        "and those that confirm (test) are others.",
        "Effects selected for being large are too large on average; the recommendation shrinks them, and the "
        "confirmation on fresh seeds and the test rows is the number to quote.",
    ]
    if groups := study.facts.get("groups"):
        roles = study.facts.get("roles", {})
        each = (f"{n} groups in the {roles.get(role, num.NONE)} rows of {role}" for role, n in groups.items())
        texts.append(
            f"Rows are grouped: there are {num.listed(each)}. Rows of a group are no independent draws, so the example "
            "part of every error is over groups."
        )
    if study.trades:
        texts.append(
            f"Bias² and variance are measured at half the training size (n/2 = {study.trades[0].n}), in the squared "
            "loss of the predictions, for this data set. Label noise is part of bias² and cancels in the differences."
        )
    if len(study.seeds) < 3:
        texts.append(
            f"{len(study.seeds)} seed blocks are the fewest that give an error at all; the intervals are wide for it."
        )
    return section("caveats", "Caveats", bullets(texts))


def repeat_section(study: Study) -> str:
    """Everything needed to run this study again."""
    f = study.facts
    roles = f.get("roles", {})
    facts = [
        ("Data", f"{study.question['data']}{f' ({source})' if (source := f.get('source')) else ''}"),
        ("Data fingerprint", str(f.get("fingerprint", "not recorded"))),
        ("Rows by role", ", ".join(f"{k} {v}" for k, v in roles.items()) or "not recorded"),
        ("Model", str(study.question["model"])),
        ("Run seeds", ", ".join(map(str, study.seeds))),
        ("Study seed", str(f.get("seed", study.design.seed))),
        ("Epochs, batch size", f"{f.get('epochs', num.NONE)}, {f.get('batch_size', num.NONE)}"),
        ("Learning rates", ", ".join(f"×{r:g}" for r in study.rates)),
        ("Primary metric, smallest effect of interest", f"{study.found.primary}, {study.found.smallest:.6g}"),
        *_looks(study),
        ("Looks at the test rows", str(study.test_looks)),
        *((f"Version of {k}", str(v)) for k, v in f.get("versions", {}).items()),
    ]
    command = f.get("command")
    command = command if command is None or isinstance(command, str) else " ".join(map(str, command))
    how = (
        code("Command", command)
        if command
        else paragraphs("Started from Python, by equipoise.study with the settings below.")
    )
    return section(
        "repeat",
        "Everything needed to repeat it",
        how,
        terms(facts),
        code("Base recipe (every arm starts from it)", _yaml(study.question["base"])),
        code("Candidate recipe (recommended by the design)", study.candidate.to_yaml()),
        code("Baseline recipe (all techniques off, at its own best rate)", study.baseline.to_yaml()),
    )


def _looks(study: Study) -> list[tuple[str, str]]:
    """The looks at a study that may grow; none where there is one."""
    declared, taken = (study.looks.get(k, []) for k in ("declared", "taken"))
    if len(declared) < 2:
        return []
    at, so_far = (", ".join(map(str, v)) for v in (declared, taken))
    return [("Looks at the effects", f"declared beforehand at {at} seed blocks; taken at {so_far}")]


def _percent(low: float, high: float | None = None) -> str:
    """89 %, or 86 to 91 %."""
    return f"{100 * low:.0f} %" if high is None else f"{100 * low:.0f} to {100 * high:.0f} %"


def _level(levels: tuple[str, ...], v: int) -> str:
    if len(levels) == 2 and levels[0] == "none":
        return "on" if v else "off"
    return levels[v]


def _yaml(entries: list[Any]) -> str:
    import yaml

    return yaml.safe_dump(entries, sort_keys=False, default_flow_style=None) if entries else "[]\n"
