"""Reference networks against formulas and counts written out by hand; model specifications, right and wrong."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from equipoise.errors import EquipoiseError
from equipoise.models import model_builder
from equipoise.networks import ACTIVATIONS, build, reference_names

SHAPES = {"vector": (30,), "image": (1, 8, 8), "colour": (3, 32, 32), "sequence": (6, 8)}


def parameters(spec: str, shape: tuple[int, ...], outputs: int = 10) -> int:
    return sum(p.numel() for p in build(spec, shape, outputs)().parameters())


def refused(model: object, shape: tuple[int, ...] = (1, 8, 8)) -> str:
    """The message of the refusal, which is one line."""
    with pytest.raises(EquipoiseError) as e:
        model_builder(model, shape, 10)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(e.value)
    return str(e.value)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


# --- reference networks -----------------------------------------------------------------------------------------------
def test_counts_of_parameters_are_those_of_the_layers_written_out():
    assert parameters("mlp", (30,), 2) == 31 * 128 + 129 * 128 + 129 * 2
    assert parameters("mlp(hidden=(64,64))", (1, 8, 8)) == 65 * 64 + 65 * 64 + 65 * 10
    assert parameters("mlp(hidden=())", (6, 8)) == 49 * 10
    assert parameters("mlp(7)", (4,), 3) == 5 * 7 + 8 * 3
    conv = lambda i, o, k=3: (i * k * k + 1) * o  # noqa: E731
    assert parameters("cnn", (1, 28, 28)) == conv(1, 32) + conv(32, 64) + (64 * 7 * 7 + 1) * 128 + 129 * 10
    assert parameters("cnn(channels=(4,), hidden=5, kernel=5)", (3, 9, 7)) == conv(3, 4, 5) + (4 * 4 * 3 + 1) * 5 + 60
    stage = lambda w: 2 * conv(w, w)  # noqa: E731
    assert parameters("resnet(widths=(4, 6), blocks=2)", (3, 8, 8)) == (
        conv(3, 4) + 2 * stage(4) + conv(4, 6) + 2 * stage(6) + 7 * 10
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_mlp_is_the_formula(name: str):
    net = build(f"mlp(hidden=(5, 4), activation={name!r})", (2, 3), 2)()
    x = torch.randn(7, 2, 3)
    p = dict(net.named_parameters())
    phi = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}.get(name) or getattr(F, name)
    h = phi(x.reshape(7, 6) @ p["layers.0.weight"].T + p["layers.0.bias"])
    h = phi(h @ p["layers.1.weight"].T + p["layers.1.bias"])
    torch.testing.assert_close(net(x), h @ p["head.weight"].T + p["head.bias"])


def test_cnn_is_the_formula():
    net = build("cnn(channels=(2, 3), hidden=4)", (1, 9, 8), 2)()
    x = given = torch.randn(5, 1, 9, 8)
    p = dict(net.named_parameters())
    for layer in ("convs.0", "convs.1"):
        x = F.max_pool2d(torch.relu(F.conv2d(x, p[f"{layer}.weight"], p[f"{layer}.bias"], padding="same")), 2)
    assert x.shape == (5, 3, 2, 2)
    h = torch.relu(F.linear(x.reshape(5, 12), p["dense.weight"], p["dense.bias"]))
    torch.testing.assert_close(net(given), F.linear(h, p["head.weight"], p["head.bias"]))


def test_a_residual_block_with_a_dead_branch_is_the_identity_on_positive_inputs():
    net = build("resnet(widths=(4,), blocks=3)", (1, 8, 8), 2)()
    x = torch.randn(5, 1, 8, 8)
    p = dict(net.named_parameters())
    stem = torch.relu(F.conv2d(x, p["stem.weight"], p["stem.bias"], padding=1))
    with torch.no_grad():
        for name, value in p.items():
            if ".branch.2." in name:
                value.zero_()
        torch.testing.assert_close(net(x), F.linear(stem.mean((2, 3)), p["head.weight"], p["head.bias"]))
        p["layers.1.branch.2.bias"].fill_(0.5)  # one branch adds a constant: every unit moves by it
        torch.testing.assert_close(net(x), F.linear((stem + 0.5).mean((2, 3)), p["head.weight"], p["head.bias"]))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", reference_names())
def test_every_network_maps_rows_to_outputs_and_every_parameter_matters(name: str, shape: tuple[int, ...]):
    if name != "mlp" and len(shape) != 3:
        assert "use mlp" in refused(name, shape)
        return
    torch.manual_seed(0)
    net = build(name, shape, 10)()
    out = net(torch.randn(16, *shape))
    assert out.shape == (16, 10)
    F.cross_entropy(out, torch.arange(16) % 10).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("name", reference_names())
def test_reference_networks_run_under_vmap_and_export(name: str):
    nets = [build(name, (1, 8, 8), 3)() for _ in range(2)]
    params, buffers = torch.func.stack_module_state(nets)
    x = torch.randn(4, 1, 8, 8)
    many = torch.func.vmap(lambda p, b: torch.func.functional_call(nets[0], (p, b), (x,)))(params, buffers)
    torch.testing.assert_close(many, torch.stack([n(x) for n in nets]))
    exported = torch.export.export(nets[0], (x,)).module()
    torch.testing.assert_close(exported(x), nets[0](x))


def test_the_residual_network_works_from_one_pixel_up():
    for side in (1, 2, 7, 8, 33):
        assert build("resnet", (2, side, side), 4)()(torch.randn(3, 2, side, side)).shape == (3, 4)


def test_a_builder_builds_a_new_network_each_time_and_survives_pickling():
    builder = build("mlp(hidden=(3,))", (2,), 1)
    torch.manual_seed(1)
    first, second = builder(), pickle.loads(pickle.dumps(builder))()
    assert not torch.equal(first.head.weight, second.head.weight)
    torch.manual_seed(1)
    assert torch.equal(builder().head.weight, first.head.weight)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mlq", "'mlp'"),
        ("MLP", "'mlp'"),
        ("mlp(hiden=(3,))", "'hidden'"),
        ("mlp(hidden=(0,))", "from 1 up"),
        ("mlp(hidden=(True,))", "from 1 up"),
        ("mlp(hidden=3.5)", "from 1 up"),
        ("mlp(hidden='64')", "from 1 up"),
        ("mlp(activation='rellu')", "'relu'"),
        ("mlp(activation=3)", "one of relu"),
        ("mlp((3,), hidden=(4,))", "once"),
        ("mlp((3,), 'relu', 1)", "once"),
        ("mlp(hidden=(3,), hidden=(4,))", "cannot read"),
        ("mlp(hidden=range(3))", "cannot read"),
        ("mlp(**{'hidden': (3,)})", "cannot read"),
        ("mlp(*[3])", "cannot read"),
        ("__import__('os').getcwd()", "cannot read"),
        ("mlp)", "cannot read"),
        ("(" * 500, "cannot read"),
        ("", "cannot read"),
        ("mlp\x00", "cannot read"),
        ("cnn(kernel=4)", "odd"),
        ("cnn(kernel=(3, 3))", "whole number"),
        ("cnn(channels=())", "from 1 up"),
        ("cnn(channels=(2, 2, 2, 2))", "16×16"),
        ("resnet(widths=())", "from 1 up"),
        ("resnet(blocks=0)", "whole number"),
    ],
)
def test_a_wrong_reference_network_is_refused_in_one_line(spec: str, says: str):
    assert says in refused(spec)


# --- everything else that names a model -------------------------------------------------------------------------------
def test_a_module_is_copied_for_every_run_as_it_was_given():
    mine = nn.Linear(3, 2)
    start = mine.weight.detach().clone()
    builder, fixed = model_builder(mine, (3,), 2)
    assert fixed
    with torch.no_grad():
        mine.weight.add_(1)
        builder().weight.add_(1)  # pyright: ignore[reportCallIssue]
    assert torch.equal(builder().weight, start)  # pyright: ignore[reportArgumentType]
    assert torch.equal(pickle.loads(pickle.dumps(builder))().weight, start)


def test_a_module_that_cannot_be_copied_is_refused():
    mine = nn.Linear(3, 2)
    mine.extra = torch.ones(1, requires_grad=True) * 2  # a result of autograd, which deepcopy refuses
    assert "give a function that builds it" in refused(mine)


def test_builders_of_every_kind_are_taken_and_the_trial_moves_no_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    for builder in (
        partial(nn.Linear, 3, 2),
        nn.Identity,
        lambda: nn.Linear(3, 2),
        lambda width=4: nn.Linear(3, width),
    ):
        built, fixed = model_builder(builder, (3,), 2)
        assert built is builder
        assert not fixed
    assert torch.equal(torch.rand(2), expected)


def test_module_and_file_specs_are_found_from_the_current_directory(here: Path):
    (here / "mine.py").write_text(
        "import torch\nfrom near import width\n\ndef net():\n    return torch.nn.Linear(3, width)\n"
    )
    (here / "near.py").write_text("width = 5\n")
    (here / "deep").mkdir()
    (here / "deep" / "own.py").write_text(
        "import torch, near\n\nclass Net(torch.nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(3, near.width)\n"
    )
    for spec in ("mine:net", "deep/own.py:Net", f"{here}/deep/own.py:Net"):
        builder, fixed = model_builder(spec, (3,), 5)
        assert not fixed
        assert builder()(torch.zeros(1, 3)).shape == (1, 5)
    one, other = (model_builder(s, (3,), 5)[0]() for s in ("deep/own.py:Net", f"{here}/deep/own.py:Net"))
    assert type(one) is type(other)  # one file is one module, however it is written


def test_a_named_builder_can_be_sent_to_another_process(here: Path):
    (here / "mine.py").write_text("import torch\n\ndef net():\n    return torch.nn.Linear(3, 5)\n")
    (here / "builder.pickle").write_bytes(pickle.dumps(model_builder("mine.py:net", (3,), 5)[0]))
    code = "import pickle; print(pickle.load(open('builder.pickle', 'rb'))())"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True, cwd=here
    ).stdout
    assert out.startswith("Linear(in_features=3, out_features=5")


def test_a_file_in_the_current_directory_does_not_replace_an_installed_package(here: Path):
    (here / "colorsys.py").write_text("raise SystemError\n")
    sys.modules.pop("colorsys", None)
    assert "'rgb_to_hsv'" in refused("colorsys:rgb_to_hsw")


def test_wrong_specs_are_refused_in_one_line(here: Path):
    (here / "mine.py").write_text(
        "import torch\n\ndef build_net(width):\n    return torch.nn.Linear(3, width)\n\n"
        "def text():\n    return 'net'\n\ndef fails():\n    raise RuntimeError('first\\nsecond')\n\nnumber = 3\n"
    )
    (here / "broken.py").write_text("def net(:\n")
    (here / "unmet.py").write_text("import not_installed_anywhere\n")
    cases = {
        "mine:build_net": "without arguments",
        "mine:text": "returned a str",
        "mine:fails": "RuntimeError: first",
        "mine:number": "no function 'number'",
        "mine:build_nett": "Did you mean 'build_net'?",
        "mine.py:tex": "Did you mean 'text'?",
        "absent.py:net": "no file",
        "absent:net": "no module 'absent'",
        "mine.inner:net": "mine.inner",
        "broken.py:net": "SyntaxError",
        "unmet:net": "not_installed_anywhere",
        "mine:": "name the function",
        "mine.py": "name the function",
        ":net": "name the function",
        "mine:__import__('os')": "cannot read",
    }
    for spec, says in cases.items():
        assert says in refused(spec), spec


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (3, "not a int"),
        (None, "not a NoneType"),
        (nn.Linear, "without arguments"),
        (lambda: 3, "returned a int"),
        (dict, "returned a dict"),
    ],
    ids=["number", "none", "class with arguments", "no module", "dict"],
)
def test_what_is_no_model_is_refused_in_one_line(model: object, says: str):
    assert says in refused(model)
