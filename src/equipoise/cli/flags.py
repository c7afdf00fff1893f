"""The flags that commands share, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer

Data = Annotated[str, typer.Argument(help="a named set (digits, mnist, …) or a .csv, .npz or idx file", metavar="DATA")]
Model = Annotated[str | None, typer.Option(help="mlp, cnn, resnet with options, module:function, or file.py:function")]
RecipeFile = Annotated[
    str | None, typer.Option("--recipe", help="a recipe.yaml; without one the default recipe", metavar="FILE")
]
With = Annotated[
    list[str] | None, typer.Option("--with", help="put an entry in, such as 'Dropout(0.3)'; may be repeated")
]
Without = Annotated[list[str] | None, typer.Option("--without", help="take an entry or a slot out; may be repeated")]
Epochs = Annotated[int | None, typer.Option(help="passes over the fit rows (default 40; 10 from 5,000 rows up)")]
BatchSize = Annotated[int, typer.Option(help="rows a step")]
Seed = Annotated[int, typer.Option(help="seed of the run: start values, order, noise")]
SplitSeed = Annotated[int, typer.Option(help="seed that draws the roles of the rows")]
Target = Annotated[str | None, typer.Option(help="target column of a .csv: name or number")]
Task = Annotated[str | None, typer.Option(help="classify or regress, where the data do not tell")]
TestFile = Annotated[str | None, typer.Option("--test", help="a file with the official test rows", metavar="FILE")]
Split = Annotated[str | None, typer.Option(help="four fractions fit,stop,assess,test, or 'time'")]
Groups = Annotated[str | None, typer.Option(help="column whose equal values stay in one role, or 'duplicates'")]
Metric = Annotated[str | None, typer.Option(help="primary metric (default loss, rmse)")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda")]
Precision = Annotated[str, typer.Option(help="float32, float64, bfloat16, or auto: bfloat16 where it is faster here")]
Compile = Annotated[str, typer.Option("--compile", help="auto, always or never")]
Threads = Annotated[int | None, typer.Option(help="CPU threads of torch")]
DataDir = Annotated[str | None, typer.Option(help="where mnist, fashion-mnist and cifar10 lie")]
Out = Annotated[str | None, typer.Option(help="folder to write (default runs/DATA-N)")]
Resume = Annotated[bool, typer.Option("--resume", help="go on with, or show, what is in --out")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what is in --out")]
Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but errors")]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Budget = Annotated[
    str | None, typer.Option(help="a time such as 2h or 30m: the largest study that fits", metavar="TIME")
]
LooksAt = Annotated[
    str | None,
    typer.Option(
        "--looks", metavar="S,S",
        help="seed blocks at each look at which the study may be read and ended, such as 3,6,9 (or how many looks)",
    ),
]  # fmt: skip
More = Annotated[
    int | None, typer.Option("--more", help="add seed blocks to the finished study in --out, up to a declared look")
]
