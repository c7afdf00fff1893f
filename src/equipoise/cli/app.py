"""The commands."""

from __future__ import annotations

from typing import Annotated

import typer

from . import flags as F

app = typer.Typer(
    name="equipoise", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Which training techniques pay on your network and your data, with honest intervals.",
)  # fmt: skip


@app.command()
def train(
    ctx: typer.Context, data: F.Data, model: F.Model = None, recipe: F.RecipeFile = None, with_: F.With = None,
    without: F.Without = None, epochs: F.Epochs = None, batch_size: F.BatchSize = 64, seed: F.Seed = 0,
    split_seed: F.SplitSeed = 0, target: F.Target = None, task: F.Task = None, test: F.TestFile = None,
    split: F.Split = None, groups: F.Groups = None, metric: F.Metric = None, device: F.Device = "auto",
    precision: F.Precision = "float32", compile_: F.Compile = "auto", threads: F.Threads = None,
    data_dir: F.DataDir = None, out: F.Out = None, resume: F.Resume = False, overwrite: F.Overwrite = False,
    quiet: F.Quiet = False, json_: F.Json = False,
) -> None:  # fmt: skip
    """Train one network with a recipe; writes a run folder with the plain trained weights."""
    from .training import train_command

    train_command(data, ctx.params)


@app.command()
def study(
    ctx: typer.Context, data: F.Data, model: F.Model = None, recipe: F.RecipeFile = None, with_: F.With = None,
    without: F.Without = None, epochs: F.Epochs = None, batch_size: F.BatchSize = 64, seed: F.Seed = 0,
    split_seed: F.SplitSeed = 0, target: F.Target = None, task: F.Task = None, test: F.TestFile = None,
    split: F.Split = None, groups: F.Groups = None, metric: F.Metric = None, device: F.Device = "auto",
    precision: F.Precision = "float32", compile_: F.Compile = "auto", threads: F.Threads = None,
    data_dir: F.DataDir = None, out: F.Out = None, resume: F.Resume = False, overwrite: F.Overwrite = False,
    quiet: F.Quiet = False, json_: F.Json = False,
    techniques: Annotated[str | None, typer.Option(help="comma list; A|B gives levels; default: by the data")] = None,
    seeds: Annotated[int | None, typer.Option(help="seed blocks, at least 2 (default 3)")] = None,
    smallest: Annotated[float | None, typer.Option(help="smallest effect of interest, in the metric's unit")] = None,
    lr: Annotated[str, typer.Option(help="ladder (each arm at its own best of ×¼, ×1, ×4) or fixed")] = "ladder",
    no_trade: Annotated[bool, typer.Option("--no-trade", help="skip the runs for bias² and variance")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="print cost and what could be detected; train nothing")] = False,
    budget: F.Budget = None,
    looks: F.LooksAt = None,
    more: F.More = None,
) -> None:  # fmt: skip
    """Tell which techniques pay, in a randomized factorial experiment; recommend, confirm on fresh seeds."""
    if plan:
        from .planning import plan_command

        plan_command(data, ctx.params)
        return
    from .studying import study_command

    study_command(data, ctx.params)


@app.command()
def doctor(
    ctx: typer.Context, data: F.Data, model: F.Model = None, recipe: F.RecipeFile = None, with_: F.With = None,
    without: F.Without = None, batch_size: F.BatchSize = 64, seed: F.Seed = 0, split_seed: F.SplitSeed = 0,
    target: F.Target = None, task: F.Task = None, test: F.TestFile = None, split: F.Split = None,
    groups: F.Groups = None, device: F.Device = "auto", precision: F.Precision = "float32", threads: F.Threads = None,
    data_dir: F.DataDir = None, out: F.Out = None, resume: F.Resume = False, overwrite: F.Overwrite = False,
    quiet: F.Quiet = False, json_: F.Json = False,
    steps: Annotated[int, typer.Option(help="steps of the short training that is looked at")] = 200,
    shuffle: Annotated[str, typer.Option(help="order of the rows that is judged: each (epoch), once, never")] = "each",
    sizes: Annotated[bool, typer.Option("--sizes", help="train on fewer rows too: would more data pay?")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="train with what is proposed too, and tell what it mends")] = False,
) -> None:  # fmt: skip
    """Tell what is wrong with a training set-up, why, and what mends it; silent where it is healthy."""
    from .doctoring import doctor_command

    doctor_command(data, ctx.params)


@app.command("bias-variance")
def bias_variance(
    ctx: typer.Context, data: F.Data, model: F.Model = None, recipe: F.RecipeFile = None, with_: F.With = None,
    without: F.Without = None, epochs: F.Epochs = None, batch_size: F.BatchSize = 64, seed: F.Seed = 0,
    split_seed: F.SplitSeed = 0, target: F.Target = None, task: F.Task = None, test: F.TestFile = None,
    split: F.Split = None, groups: F.Groups = None, device: F.Device = "auto", precision: F.Precision = "float32",
    compile_: F.Compile = "auto", threads: F.Threads = None, data_dir: F.DataDir = None, out: F.Out = None,
    resume: F.Resume = False, overwrite: F.Overwrite = False, quiet: F.Quiet = False, json_: F.Json = False,
    splits: Annotated[int, typer.Option(help="random splits of the fit rows into halves, at least 2")] = 5,
) -> None:  # fmt: skip
    """Split the loss of one recipe into bias² and variance, by training on random halves of the fit rows."""
    from .decomposing import bias_variance_command

    bias_variance_command(data, ctx.params)


@app.command()
def recipe(
    ctx: typer.Context, data: F.Data, model: F.Model = None, recipe: F.RecipeFile = None, with_: F.With = None,
    without: F.Without = None, split_seed: F.SplitSeed = 0, target: F.Target = None, task: F.Task = None,
    test: F.TestFile = None, split: F.Split = None, groups: F.Groups = None,
    data_dir: F.DataDir = None, json_: F.Json = False,
) -> None:  # fmt: skip
    """Print the resolved recipe that train and study would use with the same flags."""
    from .setting import resolved
    from .show import emit_json

    found = resolved(data, ctx.params).recipe
    if json_:
        emit_json(found.to_list())
    else:
        print(found.to_yaml(), end="")


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="a run folder", metavar="RUN")],
    file: Annotated[str, typer.Argument(help="a .csv or .npz file with the inputs", metavar="FILE")],
    samples: Annotated[int | None, typer.Option(help="average so many Monte-Carlo draws")] = None,
    model: Annotated[
        str | None, typer.Option(help="the code of the network, where the run was trained with your own")
    ] = None,
    out: Annotated[str | None, typer.Option(help="write a .csv")] = None,
    json_: F.Json = False,
) -> None:
    """One row per input: class probabilities, or targets in their own units."""
    from .predicting import predict_command

    predict_command(run, file, samples, model, out, json_)


@app.command()
def techniques(
    name: Annotated[str | None, typer.Argument(help="show one technique in full")] = None, json_: F.Json = False
) -> None:
    """List every technique with its knobs and what it trades."""
    from .catalogue import techniques_command

    techniques_command(name, json_)
