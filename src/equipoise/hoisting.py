"""Memory of a compiled loop's step, taken once instead of at every step.

AOTInductor writes a loop whose step allocates each buffer anew, which takes a tenth of a step of microseconds. Here its
C++ is rewritten before it is compiled: a buffer that ends with its step keeps its memory, each step gets a new handle
to it. Code of another form than the one known here is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LOOP, END = "    while (1) {\n", "\n    }\n"
CARRIED = re.compile(r"^ {8}\w+ = std::move\((\w+)\);", re.MULTILINE)  # into what is there before the loop
TURN = re.compile(r" *(?:if|else|while|for|switch)\b")
KNOWN = re.compile(r" *if \(.*\) (?:break;|\{ (?:throw|assert_size_stride).* \})$")
DEFINED = re.compile(r"auto (\w+) = |&(\w+)_handle\b")
MADE = re.compile(
    r"^ {8}AtenTensorHandle (\w+)_handle;\n"
    r" {8}AOTI_TORCH_ERROR_CODE_CHECK\((aoti_torch_empty_strided\(.*), &\1_handle\)\);\n",
    re.MULTILINE,
)
ARRAY = re.compile(r"^ *static constexpr int64_t (?:(\w+)\[\]|\*(\w+)) ?=.*\n", re.MULTILINE)  # sizes and strides


def hoisted(code: str) -> str:
    """The C++ of one loop with the buffers of its step made before it; unchanged where it has none, several, or other
    turns in it."""
    if code.count(LOOP) != 1:
        return code
    before, rest = code.split(LOOP)
    body, end, after = rest.partition(END)
    turns = [line for line in body.splitlines() if TURN.match(line) and not KNOWN.match(line)]
    if not end or turns or not CARRIED.search(body):
        return code
    living = _living(body)
    arrays = {m[1] or m[2]: m[0].lstrip() for m in ARRAY.finditer(body)}
    made, needed = list[str](), dict[str, str]()

    def kept(m: re.Match[str]) -> str:
        name, call = m[1], m[2]
        if name in living or not arrays.keys() >= set(re.findall(r"int_array_\d+", call)):
            return m[0]
        needed.update({a: arrays[a] for a in re.findall(r"\w+", call) if a in arrays})
        check, handle = "    AOTI_TORCH_ERROR_CODE_CHECK", f"{name}_kept_handle"
        made.append(f"    AtenTensorHandle {handle};\n{check}({call}, &{handle}));\n")
        made.append(f"    RAIIAtenTensorHandle {name}_kept({handle});\n")
        again = f"aoti_torch_new_tensor_handle({name}_kept, &{name}_handle)"
        return f"        AtenTensorHandle {name}_handle;\n    {check}({again});\n"

    body = MADE.sub(kept, body)
    return before + "".join(f"    {line}" for line in needed.values()) + "".join(made) + LOOP + body + end + after


def _living(body: str) -> set[str]:
    """Names that outlive a step: what is carried on, and whatever stands in a line that defines such a name."""
    living, lines = set(CARRIED.findall(body)), [line for line in body.splitlines() if DEFINED.search(line)]
    while True:
        more = {
            name
            for line in lines
            if not living.isdisjoint(a or b for a, b in DEFINED.findall(line))
            for name in re.findall(r"\w+", line)
        }
        if more <= living:
            return living
        living |= more


@contextmanager
def hoisting() -> Iterator[None]:
    """Within, what AOTInductor writes is rewritten before it is compiled."""
    from torch._inductor.codecache import AotCodeCompiler

    compiler: Any = AotCodeCompiler
    plain = vars(compiler)["compile"]  # the class method, as it is kept

    def compile(cls: Any, graph: Any, wrapper_code: str, *args: Any, **kwargs: Any) -> Any:
        return plain.__func__(cls, graph, hoisted(wrapper_code), *args, **kwargs)

    compiler.compile = classmethod(compile)
    try:
        yield
    finally:
        compiler.compile = plain
