"""From located values to a frozen spec, every mistake translated into one plain sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from study.document import place_of, plain
from study.mistake import Mistake, Mistakes, Place, choices, nearest

T = TypeVar("T")

_KINDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list, like [a, b]",
    "tuple_type": "a list, like [a, b]",
    "dict_type": "a block of keys",
    "model_type": "a block of keys",
    "model_attributes_type": "a block of keys with a `name`",
    "finite_number": "a finite number",
}


def shown(value: Any) -> str:
    """A value as a message shows it: short, and as the file writes it."""
    text = (
        {True: "true", False: "false", None: "null"}.get(value)
        if value is None or value in (True, False)
        else None
    )
    if text is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        text = repr(plain(value)) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read(kind: Any, value: Any, fallback: Place, prefix: tuple[Any, ...] = ()) -> Any:
    """Validate `value` (with places) as `kind`, a pydantic model or any annotation of one.

    Raises:
        Mistakes: one line a mistake, at the place of the key or value that is wrong.
    """
    try:
        # As JSON, where strict lists and tuples are both written [a, b].
        return TypeAdapter(kind).validate_json(json.dumps(plain(value)))
    except ValidationError as error:
        raise Mistakes(mistakes(error, value, fallback, prefix, kind)) from None


def mistakes(
    error: ValidationError, value: Any, fallback: Place, prefix: tuple[Any, ...] = (), kind: Any = None
) -> list[Mistake]:
    found: dict[tuple[Any, ...], list[str]] = {}
    places: dict[tuple[Any, ...], Place] = {}
    for item in error.errors(include_url=False):
        path = _path(value, item["loc"], item["type"] == "missing")
        if item["type"] == "union_tag_invalid":
            path = (*path, "name")
        whole = item["type"] not in ("extra_forbidden", "missing")
        what = _sentence(item, kind, value, path)
        # A union reports one error a member: they become one line.
        found.setdefault(path, [])
        if what not in found[path]:
            found[path].append(what)
        places[path] = place_of(value, path, fallback, whole)
    return [
        Mistake(places[path], ".".join(str(p) for p in (*prefix, *path)), _joined(whats))
        for path, whats in found.items()
    ]


def _joined(whats: list[str]) -> str:
    if len(whats) == 1:
        return whats[0]
    wanted = [w.removeprefix("must be ").split(", not ")[0] for w in whats if w.startswith("must be ")]
    if len(wanted) == len(whats):
        return f"must be {' or '.join(wanted)}, not {whats[0].split(', not ')[-1]}"
    return whats[0]


def _path(value: Any, loc: tuple[Any, ...], missing: bool) -> tuple[Any, ...]:
    """A pydantic location without the tags of unions: only what the file has, and a missing last key (which is
    never a tag, though it may be spelt as one)."""
    path: list[Any] = []
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(value, Mapping):
            if part in value:
                path.append(part)
                value = value[part]
            elif last and isinstance(part, str) and (missing or not _tag(part, value)):
                path.append(part)
        elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
            path.append(part)
            value = value[part]
    return tuple(path)


def _tag(part: str, value: Mapping[str, Any]) -> bool:
    return (
        part == value.get("name")
        or "[" in part
        or part in ("str", "int", "float", "bool", "tuple", "constrained-str")
    )


def _sentence(item: Any, kind: Any, value: Any, path: tuple[Any, ...]) -> str:
    type_, ctx, given = item["type"], item.get("ctx", {}), item.get("input")
    if type_ == "extra_forbidden":
        known = known_keys(kind, value, path[:-1])
        allowed = f"; known here: {choices(sorted(known))}" if known else ""
        return f"unknown key{allowed}.{nearest(path[-1], known)}"
    if type_ == "missing":
        return "is missing"
    if type_ in ("union_tag_invalid", "literal_error"):
        raw = ctx.get("expected_tags") or ctx.get("expected", "")
        known_words = [w.strip(" '\"") for w in raw.replace(" or ", ", ").split(",") if w.strip()]
        wrong = ctx.get("tag", given)
        return (
            f"'{shown(wrong)}' is not known; choose from {choices(known_words)}.{nearest(wrong, known_words)}"
        )
    if type_ == "union_tag_not_found":
        return "needs a `name`"
    if type_ in _KINDS:
        return f"must be {_KINDS[type_]}, not {_given(given)}"
    bounds = {
        "greater_than": ("gt", "above"),
        "greater_than_equal": ("ge", "at least"),
        "less_than": ("lt", "below"),
        "less_than_equal": ("le", "at most"),
        "multiple_of": ("multiple_of", "a multiple of"),
    }
    if type_ in bounds:
        key, words = bounds[type_]
        return f"must be {words} {ctx[key]:g}, not {shown(given)}"
    if type_ == "value_error":
        return str(ctx["error"])
    if type_ == "string_pattern_mismatch" and r"\." in ctx.get("pattern", ""):
        return f"'{shown(given)}' must look like knn.top1"
    if type_ == "string_pattern_mismatch":
        return f"'{shown(given)}' is not allowed here (letters, digits, - and _ only)"
    if type_ == "string_too_long":
        return f"is longer than {ctx['max_length']} characters"
    if type_ == "string_too_short":
        return "is empty"
    if type_ in ("too_short", "too_long"):
        return (
            item["msg"]
            .replace("Tuple", "the list")
            .replace("List", "the list")
            .replace(" after validation", "")
        )
    return item["msg"]


def _given(value: Any) -> str:
    """Quoted where it is text: a number in quotes is told from a number."""
    return f"the text '{shown(value)}'" if isinstance(value, str) else shown(value)


def known_keys(kind: Any, value: Any, path: tuple[Any, ...]) -> set[str]:
    """The keys that the block at `path` may have."""
    for model in _models(kind):
        if not path:
            name = value.get("name") if isinstance(value, Mapping) else None
            fitting = [m for m in _models(kind) if name is None or name in _names(m)] or _models(kind)
            return {field.alias or key for m in fitting for key, field in m.model_fields.items()}
        if isinstance(value, Mapping) and path[0] in model.model_fields:
            names = _names(model)
            if names and value.get("name") not in names:
                continue
            return known_keys(model.model_fields[path[0]].annotation, value[path[0]], path[1:])
    if path and isinstance(path[0], int) and isinstance(value, list | tuple):
        return known_keys(kind, value[path[0]], path[1:])
    return set()


def _names(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("name")
    return get_args(field.annotation) if field else ()


def _models(kind: Any) -> list[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [m for arg in get_args(kind) for m in _models(arg)]
