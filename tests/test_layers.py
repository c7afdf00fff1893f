"""The architecture as a test: imports point down the ranks, packages are acyclic, files and functions stay small,
starting needs no torch, and the public names are the contract's."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import equipoise as eq

SOURCE = Path(eq.__file__).parent
RANKS = {
    0: ("errors", "literals", "files", "rng", "tree", "stats", "schemas"),
    1: ("stage", "technique", "probe", "data", "metrics"),
    2: ("techniques", "probes"),
    3: ("recipe",),
    4: ("sites", "networks", "models", "reference"),
    5: ("objective",),
    6: ("step", "gradients"),
    7: (
        "compiling", "executor", "plan", "feed", "programs", "progress", "checkpoint", "run", "predict", "export",
        "combined", "report", "risks", "tracing", "native", "loop", "replay", "places", "memory", "execution",
        "recording", "hoisting", "building", "workers",
    ),
    8: ("train", "training", "cohort", "pure", "precision"),
    9: ("doctor", "study", "search", "bias_variance"),
    10: ("launch", "sklearn"),
    11: ("cli", "__init__"),
}  # fmt: skip
RANK = {name: rank for rank, names in RANKS.items() for name in names}
PUBLIC = [
    "Recipe", "Data", "Options", "Technique", "knob", "techniques", "train", "train_many", "step", "study", "doctor",
    "search", "bias_variance", "load",
]  # fmt: skip
# Functions whose signatures the contract fixes; beside them the commands in cli.
MANY_ARGUMENTS = {
    ("train", "train"),
    ("training", "train_many"),
    ("study", "study"),
    ("doctor", "doctor"),
    ("search", "search"),
    ("bias_variance", "bias_variance"),
    ("data", "__init__"),
    ("data", "load"),
}
VAGUE = {"util", "utils", "helper", "helpers", "manager", "common", "misc"}


class Import(NamedTuple):
    """One import of a module of ours; modules are paths inside the package, as ("sites", "find")."""

    importer: tuple[str, ...]
    imported: tuple[str, ...]
    line: int
    from_root: str = ""  # the name taken from the package itself, as in `from . import techniques`


@cache
def modules() -> dict[tuple[str, ...], Path]:
    """Every module of the package: ("sites", "find") → its file; a package's own file ends in "__init__"."""
    return {p.relative_to(SOURCE).with_suffix("").parts: p for p in sorted(SOURCE.rglob("*.py"))}


@cache
def tree_of(module: tuple[str, ...]) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def nodes_at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``: what is imported there does not exist when the program runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from nodes_at_run_time(node)


def resolved(path: tuple[str, ...]) -> tuple[str, ...]:
    """The module at ``path``: itself, or the ``__init__`` of a package."""
    return path if path in modules() else (*path, "__init__")


def imports_of(module: tuple[str, ...], tree: ast.AST | None = None) -> Iterator[Import]:
    """Imports of our own modules, at module level and inside functions."""
    for node in nodes_at_run_time(tree or tree_of(module)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                package, *path = alias.name.split(".")
                if package == "equipoise":
                    yield Import(module, resolved(tuple(path)), node.lineno)
        elif isinstance(node, ast.ImportFrom):
            path = tuple((node.module or "").split(".")) if node.module else ()
            if node.level:
                base = (*module[: len(module) - node.level], *path)
            elif path[:1] == ("equipoise",):
                base = path[1:]
            else:
                continue
            for alias in node.names:
                if (base, alias.name) == ((), "__version__"):
                    continue  # a constant that is there as soon as the package is
                inner = resolved((*base, alias.name))
                imported = inner if inner in modules() else resolved(base)
                yield Import(module, imported, node.lineno, "" if base else alias.name)


def all_imports() -> list[Import]:
    return [i for module in modules() for i in imports_of(module)]


def shown(i: Import) -> str:
    return f"{'/'.join(i.importer)}.py:{i.line} imports {'.'.join(i.imported)}"


def test_every_module_has_a_rank():
    assert {module[0] for module in modules()} <= set(RANK), (
        "give the new module a rank here and in docs/architecture.md"
    )


def test_imports_point_down():
    wrong = [
        shown(i) for i in all_imports() if i.importer[0] != i.imported[0] and RANK[i.imported[0]] > RANK[i.importer[0]]
    ]
    assert not wrong


def test_imports_are_acyclic():
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for i in all_imports():
        if i.importer != i.imported:
            graph.setdefault(i.importer, set()).add(i.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as e:
        raise AssertionError(" → ".join(".".join(m) for m in e.args[1])) from None


def test_techniques_and_probes_do_not_import_each_other_across_families():
    """What techniques share lies in modules of its own (``_name.py``), so that each can be read and removed alone."""
    wrong = [
        shown(i)
        for i in all_imports()
        if i.importer[0] in ("techniques", "probes")
        and i.imported[0] == i.importer[0]
        and len(i.imported) > 2
        and i.imported[:2] != i.importer[:2]
        and not i.imported[-1].startswith("_")
    ]
    assert not wrong


def test_public_functions_are_imported_from_their_module():
    """``from . import train`` gives the function, where ``from .train import …`` reaches the module (decision 0002)."""
    wrong = [shown(i) for i in all_imports() if i.from_root in PUBLIC and i.from_root != "techniques"]
    assert not wrong


def test_the_checks_above_see_a_wrong_import():
    tree = ast.parse(
        "from .study import x\ndef f():\n    import equipoise.cli\nif TYPE_CHECKING:\n    from .run import y\n"
    )
    assert [i.imported[0] for i in imports_of(("rng",), tree)] == ["study", "cli"]
    (up,) = imports_of(("sites", "find"), ast.parse("from ..errors import nearest"))
    assert (up.imported, up.from_root) == (("errors",), "")
    (beside,) = imports_of(("sites", "find"), ast.parse("from .site import Site"))
    assert beside.imported == ("sites", "site")
    (module,) = imports_of(("recipe",), ast.parse("from . import techniques"))
    assert (module.imported, module.from_root) == (("techniques", "__init__"), "techniques")


@pytest.mark.parametrize("module", modules(), ids="/".join)
def test_files_and_functions_stay_small(module: tuple[str, ...]):
    assert not VAGUE & set(module), "name the module after what it holds"
    lines = modules()[module].read_text(encoding="utf-8").count("\n")
    assert lines < 300, f"{lines} lines: split it"
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None
            start = node.body[1].lineno if documented and len(node.body) > 1 else node.lineno
            length = (node.end_lineno or node.lineno) - start + 1
            assert length <= 60, f"{node.name} has {length} lines below its docstring"
            a = node.args
            arguments = [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs) if x.arg not in ("self", "cls")]
            if (module[0], node.name) not in MANY_ARGUMENTS and module[0] != "cli":
                assert len(arguments) <= 8, f"{node.name} takes {len(arguments)} arguments"


# --- starting up ------------------------------------------------------------------------------------------------------
def loaded_by(code: str) -> set[str]:
    """Top-level packages in sys.modules after running ``code`` in a fresh interpreter."""
    end = "import sys, json; sys.stderr.write('\\n' + json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    out = subprocess.run([sys.executable, "-c", f"{code}\n{end}"], capture_output=True, text=True, check=True)
    return set(json.loads(out.stderr.rsplit("\n", 1)[1]))


HEAVY = {"torch", "numpy", "pandas", "scipy", "sklearn", "statsmodels", "matplotlib", "optuna"}


def test_importing_the_package_loads_nothing_heavy():
    assert not HEAVY & loaded_by("import equipoise; dir(equipoise)")
    assert "torch" in loaded_by("import equipoise; equipoise.Recipe")  # the check sees torch where it is loaded


def test_help_loads_nothing_heavy():
    code = """
import sys
from equipoise.cli import main
sys.argv = ["equipoise", "--help"]
try:
    main()
except SystemExit as e:
    assert not e.code
"""
    assert not HEAVY & loaded_by(code)


# --- public names -----------------------------------------------------------------------------------------------------
def test_the_public_names_are_those_of_the_contract():
    assert eq.__all__ == PUBLIC
    assert sorted(dir(eq)) == sorted([*PUBLIC, "__version__"])
    for name in PUBLIC:
        value = getattr(eq, name)
        assert inspect.ismodule(value) == (name == "techniques"), name
        assert inspect.getdoc(value), f"{name} has no docstring"
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        eq.trian  # noqa: B018


def test_editors_see_the_public_names():
    (block,) = (
        n for n in tree_of(("__init__",)).body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"
    )
    assert sorted(a.name for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names) == sorted(PUBLIC)


@pytest.mark.parametrize("first", ["module", "function"])
def test_a_function_named_as_a_module_stays_the_function(first: str):
    named_alike = [name for name in PUBLIC if name != "techniques" and {(name,), (name, "__init__")} & set(modules())]
    assert "train" in named_alike
    code = f"""
import importlib, inspect, pickle, equipoise
for name in {named_alike}:
    if {first == "module"}:
        importlib.import_module(f"equipoise.{{name}}")
    function = getattr(equipoise, name)
    assert inspect.ismodule(importlib.import_module(f"equipoise.{{name}}")), name
    assert inspect.isfunction(function) and function is getattr(equipoise, name), name
    assert pickle.loads(pickle.dumps(function)) is function, name
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_submodule_does_not_shadow_a_public_function_and_other_submodules_are_attributes():
    """The mechanism by itself, on names that need no executor."""
    package = type(eq)("package")
    package.step = importlib.import_module("equipoise.errors")  # what the import system does after loading a submodule
    package.errors = importlib.import_module("equipoise.errors")
    package.techniques = importlib.import_module("equipoise.techniques")
    assert sorted(k for k in vars(package) if not k.startswith("_")) == ["errors", "techniques"]
    package.step = test_every_module_has_a_rank
    assert package.step is test_every_module_has_a_rank
