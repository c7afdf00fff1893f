"""Reading ``name(literals)`` as data: what a command line or a recipe file may hold without being code."""

from __future__ import annotations

import ast
from typing import Any


def call(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """``name`` or ``name(1, k=(2, 3))`` as (name, arguments, keyword arguments). Nothing is looked up or executed.

    Raises ValueError for everything else: names, operators, calls inside, ``*args``, a keyword given twice.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, [], {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            keywords = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg}
            if len(keywords) == len(node.keywords):
                return node.func.id, [ast.literal_eval(a) for a in node.args], keywords
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass  # every way in which text fails to be a call of literals ends in the one message below
    raise ValueError(f"cannot read {text!r}: write name or name(option=value), with literal values only.")


def split_outside(text: str, separator: str) -> list[str]:
    """Split at ``separator`` outside of parentheses, brackets and quotes."""
    parts, depth, quote, last = [], 0, "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == separator and depth == 0:
            parts.append(text[last:i])
            last = i + 1
    return [*parts, text[last:]]
