"""The axes of a study: grid values that are all run, and dimensions that are sampled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.document import Block, Items, plain
from study.mistake import Mistake, Mistakes, choices, nearest
from study.reading import shown
from study.spec import BLOCKS, fields_of
from study.studyfile import Source

SAMPLED_KINDS = ("log", "uniform", "int", "choice")


@dataclass(frozen=True)
class Dimension:
    """One sampled axis. kind: log, uniform, int or choice."""

    key: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    values: tuple[Any, ...] = ()

    @property
    def middle(self) -> Any:
        """A point inside, for checking a cell before anything is sampled."""
        if self.kind == "choice":
            return self.values[0]
        if self.kind == "int":
            return int((self.low + self.high) // 2)
        return math.sqrt(self.low * self.high) if self.kind == "log" else (self.low + self.high) / 2

    @property
    def samples(self) -> tuple[Any, ...]:
        """Some points inside, the middle first."""
        if self.kind == "choice":
            return self.values
        if self.kind == "int":
            low, high = int(self.low), int(self.high)
            return tuple(dict.fromkeys((self.middle, *range(low, min(high, low + 15) + 1), high)))
        return (self.middle, self.low, self.high)


def grid_of(source: Source, found: list[Mistake]) -> dict[str, list[Any]]:
    grid = source.blocks.get("grid") or Block(source.base.place)
    result: dict[str, list[Any]] = {}
    for key in grid:
        place, values = grid.at[key], grid[key]
        what = key_problem(key, source)
        if what:
            found.append(Mistake(place, f"grid.{key}", what))
        elif not isinstance(values, Items) or not values:
            found.append(
                Mistake(place, f"grid.{key}", f"must be a list of values, like [1, 2], not {shown(values)}")
            )
        elif len({repr(plain(v)) for v in values}) < len(values):
            found.append(Mistake(place, f"grid.{key}", f"a value stands twice in {shown(values)}"))
        else:
            result[key] = list(values)
    return result


def dimensions_of(source: Source) -> list[Dimension]:
    search = source.blocks.get("search") or Block(source.base.place)
    found: list[Mistake] = []
    result: list[Dimension] = []
    for key in search:
        place, value = search.at[key], search[key]
        what = key_problem(key, source)
        if not what and key.partition(".")[0] == "start":
            what = "what a trial starts from cannot be sampled; put it in the grid"
        if not what and key in (source.blocks.get("grid") or {}):
            what = "is in the grid and in the search; keep one"
        if not what and (not isinstance(value, Block) or len(value) != 1):
            what = f"must be one of {{log: [low, high]}}, {{uniform: ...}}, {{int: ...}}, {{choice: [...]}}, not {shown(value)}"
        if what:
            found.append(Mistake(place, f"search.{key}", what))
            continue
        kind, bounds = next(iter(value.items()))
        if kind not in SAMPLED_KINDS:
            what = f"unknown kind; known: {choices(SAMPLED_KINDS)}.{nearest(kind, SAMPLED_KINDS)}"
        elif not isinstance(bounds, Items) or not bounds:
            what = f"{kind} needs a list, not {shown(bounds)}"
        elif kind == "choice":
            if any(isinstance(v, Block | Items) for v in bounds):
                what = "choices must be numbers, text, true, false or null"
            elif len({repr(v) for v in bounds}) < len(bounds):
                what = f"a choice stands twice in {shown(bounds)}"
            else:
                result.append(Dimension(key, kind, values=tuple(bounds)))
        elif len(bounds) != 2 or any(isinstance(v, bool) or not isinstance(v, int | float) for v in bounds):
            what = f"{kind} needs two numbers, [low, high], not {shown(bounds)}"
        elif not bounds[0] < bounds[1]:
            what = f"low must be below high, not {shown(bounds)}"
        elif kind == "log" and bounds[0] <= 0:
            what = f"log needs numbers above 0, not {shown(bounds)}"
        elif kind == "int" and not all(isinstance(v, int) for v in bounds):
            what = f"int needs whole numbers, not {shown(bounds)}"
        else:
            result.append(Dimension(key, kind, float(bounds[0]), float(bounds[1])))
        if what:
            found.append(Mistake(place, f"search.{key}", what))
    if found:
        raise Mistakes(found)
    return result


def key_problem(key: str, source: Source) -> str | None:
    """What is wrong with an axis's key, or None. Keys are looked up under every name that the file uses."""
    block, _, rest = key.partition(".")
    if block == "seed" or block == "seeds":
        return "seeds are not an axis; use the key `seeds`"
    if block not in BLOCKS:
        return f"must begin with one of {choices(BLOCKS)}.{nearest(block, BLOCKS)}"
    if not rest:
        return None
    known: set[str] = set()
    for name in names_of(block, source):
        known |= fields_of(block, name)
    known = known or set(fields_of(block, None))
    head = rest.split(".")[0]
    if head not in known:
        return f"{block} has no key '{head}'; it has {choices(sorted(known))}.{nearest(head, known)}"
    if head != rest:
        return f"{block}.{head} is a single value; it has no key '{rest.partition('.')[2]}'"
    return None


def names_of(block: str, source: Source) -> set[str]:
    names: set[str] = set()
    grid = source.blocks.get("grid") or {}
    for value in [
        source.base.get(block),
        *[a.get(block) for a in source.arms.values() if isinstance(a, Block)],
    ]:
        if isinstance(value, Block) and isinstance(value.get("name"), str):
            names.add(value["name"])
    values = grid.get(f"{block}.name")
    names |= {v for v in values if isinstance(v, str)} if isinstance(values, Items) else set()
    values = grid.get(block)
    names |= (
        {v["name"] for v in values if isinstance(v, Block) and "name" in v}
        if isinstance(values, Items)
        else set()
    )
    return names


def has_key(template: Block, key: str) -> bool:
    block, _, rest = key.partition(".")
    if not rest:
        return True
    inner = template.get(block)
    name = inner.get("name") if isinstance(inner, Block) else None
    return rest.split(".")[0] in fields_of(block, name if isinstance(name, str) else None)


def exists_elsewhere(key: str, grid: Mapping[str, Any], source: Source) -> bool:
    block, _, rest = key.partition(".")
    names = names_of(block, source)
    return len(names) > 1 and any(rest.split(".")[0] in fields_of(block, name) for name in names)
