"""The space of a study: cells (grid values and named arms), sampled axes, seeds, and their trials."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from study.crosscheck import crosscheck
from study.document import Block, Items, located, place_of, plain
from study.expression import Absent, Expression, ExpressionError
from study.mistake import Mistake, Mistakes, Place, choices, nearest
from study.reading import read, shown
from study.spec import BLOCKS, EvaluationSpec, TrialSpec, fields_of
from study.studyfile import Source, changed, merge

MAX_CELLS, MAX_TRIALS = 5_000, 1_000_000


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


@dataclass(frozen=True)
class Cell:
    """One row of the question: an arm or a combination of grid values, before seeds and samples."""

    label: str
    axes: Mapping[str, Any]
    template: Block = field(repr=False, hash=False, compare=False)


@dataclass(frozen=True)
class Trial:
    """One trial of a study: where it stands in the space, and its whole configuration."""

    arm: str
    axes: Mapping[str, Any]
    spec: TrialSpec
    point: Mapping[str, Any] = field(default_factory=dict)
    point_index: int = 0

    @property
    def id(self) -> str:
        return self.spec.id


@dataclass(frozen=True)
class Excluded:
    """A cell that `where` took out, and by which constraint."""

    label: str
    by: str


class Space:
    """Everything that a study file asks for, expanded and checked. Raises Mistakes."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.settings = source.settings
        found: list[Mistake] = []
        self.dimensions: list[Dimension] = []
        try:
            _check_base(source.base)
            self.dimensions = _dimensions(source)
        except Mistakes as error:
            found += error.mistakes
        try:
            self.cells, self.excluded = _cells(source, self.dimensions)
        except Mistakes as error:
            found += error.mistakes
        if found:
            raise Mistakes([*found, *of_blocks(source.blocks)])
        for cell in self.cells:
            try:
                self.example(cell)
            except Mistakes as error:
                found += error.mistakes
        found += _named(self)
        if self.count() > MAX_TRIALS:
            what = (
                f"makes {self.count():,} trials over all cells and seeds; at most {MAX_TRIALS:,} are allowed"
            )
            found.append(
                Mistake(place_of(source.blocks, ("sampler",), source.base.place), "sampler.trials", what)
            )
        if found:
            raise Mistakes(found)

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.settings.seed_list

    @property
    def sampled(self) -> bool:
        return bool(self.dimensions)

    def points(self, cell: Cell) -> int:
        """How many points are sampled in a cell: one where nothing of it is sampled."""
        return self.settings.sampler.trials if self.dimensions_of(cell) else 1

    def dimensions_of(self, cell: Cell) -> list[Dimension]:
        """The sampled axes that exist in this cell: a key that its method does not have is conditional."""
        return [d for d in self.dimensions if _has(cell.template, d.key)]

    def trial(self, cell: Cell, point: Mapping[str, Any], seed: int, index: int = 0) -> Trial:
        """The trial of one seed at one point. Raises Mistakes."""
        template = cell.template
        for key, value in point.items():
            place = place_of(self.source.blocks, ("search", key), template.place)
            template = changed(template, tuple(key.split(".")), value, place)
        spec = resolve(template, seed)
        return Trial(cell.label, {**cell.axes, **point}, spec, dict(point), index)

    def example(self, cell: Cell) -> Trial:
        """A possible trial of a cell: where sampled axes are in the middle, or near it where that is impossible.
        Raises Mistakes, those of the middle, when none is found."""
        dimensions = self.dimensions_of(cell)
        middle = {d.key: d.middle for d in dimensions}
        try:
            return self.trial(cell, middle, self.seeds[0])
        except Mistakes as error:
            for d in dimensions:
                for value in d.samples[1:]:
                    with contextlib.suppress(Mistakes):
                        return self.trial(cell, {**middle, d.key: value}, self.seeds[0])
            raise error

    def fixed(self) -> Iterator[Trial]:
        """Trials of the cells where nothing is sampled, seed by seed, so that every arm has its first number
        early and an interrupted study is still balanced."""
        for seed in self.seeds:
            for cell in self.cells:
                if not self.dimensions_of(cell):
                    yield self.trial(cell, {}, seed)

    def count(self) -> int:
        return sum(self.points(cell) for cell in self.cells) * len(self.seeds)


def of_blocks(blocks: Block) -> list[Mistake]:
    """The mistakes of the base and of every arm by themselves: those that can be told of a file whose axes or
    settings are wrong already."""
    base, arms = blocks.get("base"), blocks.get("arms")
    if not isinstance(base, Block):
        return []
    template = Block(base.place)
    for key in base:
        if key in BLOCKS:
            template.take(base, key)
    if "evaluate" in blocks:
        template.take(blocks, "evaluate")
    made = [template]
    for change in arms.values() if isinstance(arms, Block) else ():
        if isinstance(change, Block):
            made.append(merge(template, change))
    found: list[Mistake] = []
    for one in made:
        try:
            resolve(one, 0)
        except Mistakes as error:
            found += error.mistakes
    return found


def _check_base(base: Block) -> None:
    """Every block of the base is a block: what is looked up in it by name must not be a word or a list."""
    wrong = [key for key in base if key in BLOCKS and not isinstance(base[key], Block)]
    what = "must be a block of keys with a `name`"
    found = [Mistake(base.values_at[key], f"base.{key}", f"{what}, not {shown(base[key])}") for key in wrong]
    if found:
        raise Mistakes(found)


def resolve(template: Block, seed: int) -> TrialSpec:
    """A template as a whole trial. Raises Mistakes."""
    block = Block(template.place)
    for key in template:
        block.take(template, key)
    method = block.get("method")
    if isinstance(method, Block) and isinstance(method.get("name"), str):
        from models.methods import METHODS

        known = METHODS.get(method["name"])
        recipe = known.recipe if known else "byol"  # of an unknown method, which is refused below
        views = block.get("views")
        if views is None:
            block.put("views", located({"name": recipe}, method.place), method.place)
        elif isinstance(views, Block) and "name" not in views:
            named = Block(views.place)
            named.put("name", recipe, views.place)
            for key in views:
                named.take(views, key)
            block.put("views", named, block.at["views"], block.values_at["views"])
    block.put("evaluate", _evaluations(block.get("evaluate")), block.at.get("evaluate", block.place))
    block.put("seed", seed, block.place)
    spec = read(TrialSpec, block, template.place)
    found = [
        Mistake(place_of(block, path, template.place, True), ".".join(map(str, path)), what)
        for path, what in crosscheck(spec)
    ]
    if found:
        raise Mistakes(found)
    return spec


def _evaluations(value: Any) -> Any:
    """`knn` is short for {name: knn}."""
    if not isinstance(value, Items):
        return Items(Place("", 0, 0)) if value is None else value
    items = Items(value.place)
    for item, place in zip(value, value.at, strict=True):
        items.append(located({"name": item}, place) if isinstance(item, str) else item)
        items.at.append(place)
    return items


def _template(source: Source) -> Block:
    template = Block(source.base.place)
    found = []
    for key in source.base:
        if key not in BLOCKS:
            where = "the study's own top level" if key in ("seed", "seeds", "evaluate") else choices(BLOCKS)
            what = f"unknown key; known here: {where}.{nearest(key, BLOCKS)}"
            found.append(Mistake(source.base.at[key], f"base.{key}", what))
        template.take(source.base, key)
    if found:
        raise Mistakes(found)
    if "evaluate" in source.blocks:
        template.take(source.blocks, "evaluate")
    return template


def _cells(source: Source, dimensions: list[Dimension]) -> tuple[list[Cell], list[Excluded]]:
    template = _template(source)
    found: list[Mistake] = []
    grid = _grid(source, found)
    constraints = _constraints(source, found)
    cells: list[Cell] = []
    excluded: list[Excluded] = []
    size = math.prod(len(values) for values in grid.values()) if grid else 0
    if size > MAX_CELLS:
        place = place_of(source.blocks, ("grid",), template.place)
        raise Mistakes([Mistake(place, "grid", f"makes {size:,} cells; at most {MAX_CELLS:,} are allowed")])
    if found:
        raise Mistakes(found)
    labels = _short(list(grid))
    for arm in source.arms:
        change = source.arms[arm]
        if not isinstance(change, Block | None):
            found.append(Mistake(source.arms.at[arm], f"arms.{arm}", "must be a block of keys"))
            continue
        keys = change or Block(source.arms.place)
        for key in [k for k in keys if k not in (*BLOCKS, "evaluate")]:
            what = f"unknown key; known here: {choices(BLOCKS)}.{nearest(key, BLOCKS)}"
            found.append(Mistake(keys.at[key], f"arms.{arm}.{key}", what))
        cells.append(Cell(arm, {"arm": arm}, merge(template, change) if change else template))
    combinations: list[dict[str, Any]] = [
        dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
    ]
    seen: set[str] = set()
    for values in combinations if grid else ([] if cells else [{}]):
        cell = template
        used: dict[str, Any] = {}
        # A block's name first: which keys exist depends on it.
        for key in sorted(values, key=lambda k: (not k.endswith(".name") and "." in k, list(grid).index(k))):
            path = tuple(key.split("."))
            if not _has(cell, key) and _exists_elsewhere(key, grid, source):
                continue
            place = place_of(source.blocks, ("grid", key), template.place)
            cell = changed(cell, path, values[key], place)
            used[key] = values[key]
        used = {key: used[key] for key in grid if key in used}
        label = ", ".join(f"{labels[k]}={_word(v)}" for k, v in used.items()) or source.settings.study
        if label in seen:
            continue
        seen.add(label)
        cells.append(Cell(label, {k: _word(v) if isinstance(v, dict) else v for k, v in used.items()}, cell))
    if found:
        raise Mistakes(found)
    kept = []
    for made in cells:
        against = _against(made, constraints, dimensions, source, found)
        if against is None:
            kept.append(made)
        else:
            excluded.append(Excluded(made.label, against))
    if not kept and not found:
        place = place_of(source.blocks, ("where",), template.place)
        found.append(Mistake(place, "where", f"excludes every one of the {len(cells)} cells"))
    duplicates = [label for label, n in Counter(c.label for c in kept).items() if n > 1]
    if duplicates:
        found.append(Mistake(source.arms.place, "arms", f"'{duplicates[0]}' names two cells"))
    if found:
        raise Mistakes(found)
    return kept, excluded


def _grid(source: Source, found: list[Mistake]) -> dict[str, list[Any]]:
    grid = source.blocks.get("grid") or Block(source.base.place)
    result: dict[str, list[Any]] = {}
    for key in grid:
        place, values = grid.at[key], grid[key]
        what = _key_problem(key, source)
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


SAMPLED_KINDS = ("log", "uniform", "int", "choice")


def _dimensions(source: Source) -> list[Dimension]:
    search = source.blocks.get("search") or Block(source.base.place)
    found: list[Mistake] = []
    result: list[Dimension] = []
    for key in search:
        place, value = search.at[key], search[key]
        what = _key_problem(key, source)
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


def _key_problem(key: str, source: Source) -> str | None:
    """What is wrong with an axis's key, or None. Keys are looked up under every name that the file uses."""
    block, _, rest = key.partition(".")
    if block == "seed" or block == "seeds":
        return "seeds are not an axis; use the key `seeds`"
    if block not in BLOCKS:
        return f"must begin with one of {choices(BLOCKS)}.{nearest(block, BLOCKS)}"
    if not rest:
        return None
    known: set[str] = set()
    for name in _names_of(block, source):
        known |= fields_of(block, name)
    known = known or set(fields_of(block, None))
    head = rest.split(".")[0]
    if head not in known:
        return f"{block} has no key '{head}'; it has {choices(sorted(known))}.{nearest(head, known)}"
    if head != rest:
        return f"{block}.{head} is a single value; it has no key '{rest.partition('.')[2]}'"
    return None


def _names_of(block: str, source: Source) -> set[str]:
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


def _has(template: Block, key: str) -> bool:
    block, _, rest = key.partition(".")
    if not rest:
        return True
    inner = template.get(block)
    name = inner.get("name") if isinstance(inner, Block) else None
    return rest.split(".")[0] in fields_of(block, name if isinstance(name, str) else None)


def _exists_elsewhere(key: str, grid: Mapping[str, Any], source: Source) -> bool:
    block, _, rest = key.partition(".")
    names = _names_of(block, source)
    return len(names) > 1 and any(rest.split(".")[0] in fields_of(block, name) for name in names)


def _constraints(source: Source, found: list[Mistake]) -> list[tuple[Expression, Place]]:
    result = []
    where = source.blocks.get("where")
    for i, text in enumerate(source.settings.where):
        place = where.at[i] if isinstance(where, Items) else source.base.place
        try:
            result.append((Expression(text), place))
        except ExpressionError as error:
            found.append(Mistake(place, f"where.{i}", str(error)))
    return result


def _against(
    cell: Cell,
    constraints: list[tuple[Expression, Place]],
    dimensions: list[Dimension],
    source: Source,
    found: list[Mistake],
) -> str | None:
    """The first constraint that excludes the cell. Constraints on sampled axes are the sampler's."""
    if not constraints:
        return None
    sampled = {d.key for d in dimensions}
    try:
        values = resolve(cell.template, 0).model_dump()
    except Mistakes:
        values = plain(cell.template)  # a cell that a constraint takes out need not be possible
    for expression, place in constraints:
        if expression.keys & sampled:
            continue
        try:
            if not expression(values):
                return expression.text
        except Absent as error:
            key = next(iter(k for k in sorted(expression.keys)), "")
            if all(_key_problem(k, source) for k in expression.keys):
                found.append(Mistake(place, f"where: {key}", str(error)))
        except ExpressionError as error:
            found.append(Mistake(place, "where", str(error)))
    return None


def _named(space: Space) -> list[Mistake]:
    """The words of a file that name arms and metrics must name something."""
    found = []
    source, settings = space.source, space.settings
    labels = [cell.label for cell in space.cells]
    evaluations = {e.label for cell in space.cells for e in resolve_evaluations(cell)}

    def wrong(path: tuple[Any, ...], what: str) -> None:
        place = place_of(source.blocks, path, source.base.place, True)
        found.append(Mistake(place, ".".join(str(p) for p in path), what))

    def metric(path: tuple[Any, ...], text: str) -> None:
        name = text.partition(".")[0]
        if name not in evaluations and name != "trial":
            wrong(
                path,
                f"there is no evaluation '{name}' in `evaluate`; it has {choices(sorted(evaluations))}."
                f"{nearest(name, evaluations)}",
            )

    if settings.baseline is not None and settings.baseline not in labels:
        wrong(
            ("baseline",),
            f"there is no arm '{settings.baseline}'; there are {choices(labels)}.{nearest(settings.baseline, labels)}",
        )
    for i, text in enumerate(settings.metrics):
        metric(("metrics", i), text)
    if space.sampled:
        several = isinstance(settings.objective, tuple)
        for i, objective in enumerate(settings.objectives):
            metric(("objective", i, "metric") if several else ("objective", "metric"), objective.metric)
    if settings.scheduler.name != "none":
        if settings.scheduler.metric.startswith("trial."):
            wrong(("scheduler", "metric"), "must be of an evaluation, not a cost")
        else:
            metric(("scheduler", "metric"), settings.scheduler.metric)
    for i, claim in enumerate(settings.claims):
        metric(("claims", i, "metric"), claim.metric)
        for side in ("a", "b"):
            chosen = plain(getattr(claim, side))
            if not any(all(cell.axes.get(k) == v for k, v in chosen.items()) for cell in space.cells):
                wrong(("claims", i, side), f"no arm has {shown(chosen)}; there are {choices(labels)}")
    return found


def resolve_evaluations(cell: Cell) -> tuple[Any, ...]:
    return _evaluate(json.dumps(plain(_evaluations(cell.template.get("evaluate")))))


@lru_cache(maxsize=256)
def _evaluate(text: str) -> tuple[Any, ...]:
    """The evaluations of a cell; none where they are refused (that is told where the cell is resolved)."""
    try:
        return TypeAdapter(tuple[EvaluationSpec, ...]).validate_json(text)
    except ValidationError:
        return ()


def _short(keys: list[str]) -> dict[str, str]:
    """The last word of every key, or the whole key where two keys end alike."""
    lasts = [k.split(".")[-1] for k in keys]
    return {
        k: k if lasts.count(last) > 1 or (last == "name" and len(keys) > 1) else last
        for k, last in zip(keys, lasts, strict=True)
    }


def _word(value: Any) -> Any:
    if isinstance(value, dict):
        rest = ", ".join(f"{k}: {_word(v)}" for k, v in value.items() if k != "name")
        name = str(value.get("name", ""))
        return f"{name}({rest})" if name and rest else name or rest
    if isinstance(value, list):
        return "[" + ", ".join(str(_word(v)) for v in value) + "]"
    return value
