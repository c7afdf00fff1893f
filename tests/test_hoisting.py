"""Memory of a step, taken before the loop: the same bits, and only what ends with its step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from equipoise import Data, Options, building, hoisting
from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.compiling import can_compile
from equipoise.executor import Single
from equipoise.feed import Schedule
from equipoise.plan import Member, group
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve

ALWAYS = Options(compile="always")

CODE = """
    auto buf0 = std::move(inputs[0]);
    while (1) {
        if (!go_scalar) break;
        static constexpr int64_t int_array_1[] = {64L, 2L};
        static constexpr int64_t *int_array_2=nullptr;
        AtenTensorHandle a_handle;
        AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(2, int_array_1, int_array_1, f32, &a_handle));
        RAIIAtenTensorHandle a(a_handle);
        AtenTensorHandle b_handle;
        AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(2, int_array_1, int_array_1, f32, &b_handle));
        RAIIAtenTensorHandle b(b_handle);
        AtenTensorHandle c_handle;
        AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(0, int_array_2, int_array_2, f32, &c_handle));
        RAIIAtenTensorHandle c(c_handle);
        AtenTensorHandle d_handle;
        AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(1, int_array_7, int_array_7, f32, &d_handle));
        RAIIAtenTensorHandle d(d_handle);
        auto e = wrap_with_raii_handle_if_needed(reinterpret_tensor_wrapper(b, 1, int_array_1, int_array_1, 0L));
        auto f = std::move(e);  // reuse
        cpp_fused_0((float*)(a.data_ptr()), (float*)(f.data_ptr()));
        buf0.reset();
        buf0 = std::move(f);
    }
    output_handles[0] = buf0.release();
"""


def test_what_ends_with_its_step_is_made_once() -> None:
    """a and c; not b, a view of which is carried on, nor d, whose size is not known here."""
    before, body = hoisting.hoisted(CODE).split("while (1) {")
    for name, array in (("a", "int_array_1"), ("c", "int_array_2")):
        assert f"{array}, {array}, f32, &{name}_kept_handle" in before
        assert f"new_tensor_handle({name}_kept, &{name}_handle)" in body
    assert "_kept" not in body.replace("a_kept", "").replace("c_kept", "")
    assert body.count("empty_strided") == 2 and before.count("empty_strided") == 2
    assert before.index("int_array_2=nullptr") < before.index("&c_kept_handle")


@pytest.mark.parametrize(
    "change",
    [
        lambda code: code.replace("while (1)", "for (;;)"),
        lambda code: code + code,  # two loops
        lambda code: code.replace("if (!go_scalar) break;", "if (go_scalar) {\n        }"),
        lambda code: code.replace("        buf0.reset();", "        while (1) {\n        }"),
        lambda code: code.replace("buf0 = std::move(f)", "keep(f)"),  # nothing known to be carried on
    ],
)
def test_code_of_another_form_is_left_alone(change: Callable[[str], str]) -> None:
    assert hoisting.hoisted(change(CODE)) == change(CODE) != CODE


def trained(data: Data) -> list[torch.Tensor]:
    entries = (T.Dropout(0.3), T.MixUp(0.2), T.ClipGradients(1.0), T.AdamW(1e-2))
    members = [Member(resolve(Recipe(*entries), data.task), 0)]
    [(techniques, _)] = group(members)
    build = lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))  # noqa: E731
    program = make_program(build, techniques, members[0], data, ALWAYS)
    cohort = Cohort(program, members, data, Schedule(3, 12), Single)
    assert cohort.compile(ALWAYS) > 0 and cohort.compiled, cohort.why
    for _ in range(3):
        cohort.train_epoch()
    return pytree.tree_leaves(cohort.state)


@pytest.mark.skipif(not can_compile(torch.device("cpu")), reason="no C++ compiler")
def test_it_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(240, 6, generator=torch.Generator().manual_seed(0))
    data = Data(x, (x[:, 0] > 0).long())
    changed = list[bool]()

    def rewritten(code: str) -> str:
        changed.append((new := plain(code)) != code)
        return new

    plain: Any = hoisting.hoisted
    monkeypatch.setattr(hoisting, "hoisted", rewritten)
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path / "with"))
    ours = trained(data)
    assert changed == [True]
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path / "without"))
    monkeypatch.setattr(building, "hoisting", nullcontext)
    monkeypatch.setattr(building, "_loaded", {})
    theirs = trained(data)
    assert changed == [True] and all(map(torch.equal, ours, theirs))
