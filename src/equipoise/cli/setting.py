"""What a command needs from its flags: data, model, resolved recipe, options, the folder to write."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EquipoiseError

RESTART = ("--resume", "--overwrite")
OURS = ("run.json", "study.json", "study.sqlite", "recipe.yaml", "checkpoint")  # a folder with one of them is ours

if TYPE_CHECKING:
    from ..data import Data
    from ..plan import Options
    from ..recipe import Recipe


@dataclass
class Setting:
    """Data, model and recipe as the flags resolve them."""

    data: Data
    model: str
    recipe: Recipe
    epochs: int


def load_data(data: str, flags: dict[str, Any]) -> Data:
    from ..data import Data

    split: Any = flags.get("split")
    if split is not None and split != "time":
        try:
            split = tuple(float(v) for v in split.split(","))
        except ValueError:
            raise EquipoiseError(f"--split {split}: give four fractions such as .6,.1,.15,.15, or time.") from None
    target = flags.get("target")
    if target is not None and "," in target:
        target = [t.strip() for t in target.split(",")]
    return Data.load(
        data, target=target, task=flags.get("task"), split=split, groups=flags.get("groups"),
        seed=flags.get("split_seed", 0), data_dir=flags.get("data_dir"), test=flags.get("test"),
    )  # fmt: skip


def default_model(data: Data) -> str:
    """digits is served by a small mlp; other images by cnn; the rest by mlp."""
    if data.name == "digits":
        return "mlp(hidden=(64,64))"
    return "cnn" if data.kind == "image" else "mlp(hidden=(128,128))"


def default_epochs(data: Data) -> int:
    return 40 if len(data.rows["fit"]) < 5000 else 10


def resolved(data: str, flags: dict[str, Any]) -> Setting:
    """Data, model, and the recipe after --recipe, --without and --with, in that order."""
    from ..programs import check_data
    from ..recipe import parse, resolve
    from ..reference import reference_recipe

    entries = [parse(t) for t in flags.get("with_") or []]
    recipe_file = read_recipe(flags.get("recipe"))
    rows = load_data(data, flags)
    model = flags.get("model") or default_model(rows)
    recipe = resolve(
        recipe_file, rows.task, default=reference_recipe(model), without=flags.get("without") or (), with_=entries
    )
    check_data(recipe, rows)
    return Setting(rows, model, recipe, default_epochs(rows) if flags.get("epochs") is None else flags["epochs"])


def read_recipe(path: str | None) -> Recipe | None:
    from ..recipe import Recipe

    if path is None:
        return None
    try:
        return Recipe.from_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise EquipoiseError(f"--recipe {path}: {e.strerror}. Give a recipe.yaml.") from None
    except UnicodeDecodeError:
        raise EquipoiseError(f"--recipe {path} is no text file: give a recipe.yaml.") from None


def options(flags: dict[str, Any]) -> Options:
    from ..plan import Options

    quiet = flags.get("quiet") or flags.get("json_")
    found = Options(
        device=flags["device"], precision=flags["precision"], compile=flags["compile_"], threads=flags.get("threads"),
        progress=False if quiet else None,
    )  # fmt: skip
    found.resolved_device()  # one that is not there is refused here, before anything is written
    return found


def folder(flags: dict[str, Any], name: str, finished: str) -> tuple[Path, bool]:
    """The folder to write, and whether it holds a finished result already (``finished``: the file written last)."""
    from ..checkpoint.lock import refuse_in_use

    given = flags.get("out")
    if given is None and flags.get("resume"):
        raise EquipoiseError("--resume: name the folder to go on with, --out FOLDER.")
    if given is None:
        n = 1
        while (path := Path("runs") / f"{name}-{n}").exists():
            n += 1
        return path, False
    path = Path(given)
    if path.exists() and not path.is_dir():
        raise EquipoiseError(f"--out {given} is a file: name a folder.")
    if path.is_dir() and any(path.iterdir()):
        if flags.get("resume"):
            return path, (path / finished).is_file()
        if not flags.get("overwrite"):
            raise EquipoiseError(
                f"--out {given} is not empty: add --resume to go on with it, or --overwrite to replace it."
            )
        if not any((path / f).exists() for f in OURS):
            raise EquipoiseError(f"--out {given} holds files that are no run or study: choose another folder.")
        refuse_in_use(path)
        shutil.rmtree(path)
    return path, False


def command(arguments: Sequence[str] | None = None) -> str:
    """The command line as it was given, to repeat it."""
    return shlex.join(["equipoise", *(sys.argv[1:] if arguments is None else arguments)])


def command_to_resume(path: Path, arguments: Sequence[str] | None = None) -> str:
    """The command line that goes on with what this one began in ``path``."""
    given = [a for a in _without_more(sys.argv[1:] if arguments is None else arguments) if a not in RESTART]
    named = any(a == "--out" or a.startswith("--out=") for a in given)
    return command([*given, *([] if named else ["--out", str(path)]), "--resume"])


def _without_more(arguments: Sequence[str]) -> list[str]:
    """Without ``--more S``: once begun, the seed blocks added belong to the study."""
    pairs = zip(["", *arguments], arguments, strict=False)
    return [a for before, a in pairs if before != "--more" and a != "--more" and not a.startswith("--more=")]
