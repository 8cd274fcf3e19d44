"""Where-constraints: arithmetic and comparisons over a trial's keys, by a whitelist and never by eval."""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
MAX_CHARACTERS = 500


class ExpressionError(ValueError):
    """The text is not an expression that a study file may hold, or cannot be computed."""


class Absent(ExpressionError):
    """A key that this cell does not have: the constraint says nothing about it."""


class Expression:
    """`method.dim % method.groups == 0`, parsed once.

    Allowed: numbers, text, true/false, keys with dots, + - * / // %, comparisons, in, and, or, not, lists.
    Raises ExpressionError at construction for anything else.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > MAX_CHARACTERS:
            raise ExpressionError(f"is longer than {MAX_CHARACTERS} characters")
        try:
            with warnings.catch_warnings():  # python's own remarks on `1 is 1`
                warnings.simplefilter("ignore")
                self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ExpressionError(
                f"'{text}' is not an expression like method.dim % method.groups == 0"
            ) from None
        self.keys: set[str] = set()
        self._check(self._tree)

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """The value over nested `values`. Raises Absent for a key they do not have, ExpressionError otherwise."""
        try:
            return self._value(self._tree, values)
        except (ArithmeticError, TypeError) as error:
            raise ExpressionError(f"'{self.text}' cannot be computed: {error}") from None

    def _check(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name | ast.Attribute):
            self.keys.add(self._key(node))
        elif isinstance(node, ast.Constant):
            if not isinstance(node.value, int | float | str | bool):
                raise ExpressionError(f"'{ast.unparse(node)}' is not allowed in a constraint")
        elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            self._check(node.left)
            self._check(node.right)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
            self._check(node.operand)
        elif isinstance(node, ast.BoolOp):
            for value in node.values:
                self._check(value)
        elif isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
            for value in [node.left, *node.comparators]:
                self._check(value)
        elif isinstance(node, ast.List | ast.Tuple):
            for value in node.elts:
                self._check(value)
        else:
            what = type(node).__name__.lower()
            raise ExpressionError(
                f"'{self.text}': {what} is not allowed; only arithmetic and comparisons are"
            )

    def _key(self, node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return {"true": "True", "false": "False"}.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self._key(node.value)}.{node.attr}"
        raise ExpressionError(f"'{self.text}': a key must look like method.groups")

    def _value(self, node: ast.AST, values: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name | ast.Attribute):
            return self._lookup(self._key(node), values)
        if isinstance(node, ast.BinOp):
            left, right = self._value(node.left, values), self._value(node.right, values)
            if not all(isinstance(v, int | float) for v in (left, right)):
                raise ExpressionError(f"'{self.text}': arithmetic needs numbers, not {left!r} and {right!r}")
            return _BINARY[type(node.op)](left, right)
        if isinstance(node, ast.UnaryOp):
            operand = self._value(node.operand, values)
            return -operand if isinstance(node.op, ast.USub) else not operand
        if isinstance(node, ast.BoolOp):
            whole = all if isinstance(node.op, ast.And) else any
            return whole(self._value(v, values) for v in node.values)
        if isinstance(node, ast.Compare):
            left = self._value(node.left, values)
            for op, right_node in zip(node.ops, node.comparators, strict=True):
                right = self._value(right_node, values)
                if not _COMPARE[type(op)](left, right):
                    return False
                left = right
            return True
        assert isinstance(node, ast.List | ast.Tuple)
        return [self._value(v, values) for v in node.elts]

    def _lookup(self, key: str, values: Mapping[str, Any]) -> Any:
        if key in ("True", "False"):
            return key == "True"
        value: Any = values
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise Absent(f"'{self.text}': there is no key {key}")
            value = value[part]
        return value
