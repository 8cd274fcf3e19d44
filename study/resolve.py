"""From the blocks of a file to one whole trial, with the defaults that depend on the method."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from data.sets import SETS
from models.methods import METHODS
from study.crosscheck import crosscheck
from study.document import Block, Items, located, place_of, plain
from study.mistake import Mistake, Mistakes, Place, choices, nearest
from study.reading import read, shown
from study.spec import BLOCKS, EvaluationSpec, TrialSpec
from study.start import digest
from study.studyfile import Source, merge
from study.weights import StartError


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


def check_base(base: Block) -> None:
    """Every block of the base is a block: what is looked up in it by name must not be a word or a list."""
    wrong = [key for key in base if key in BLOCKS and not isinstance(base[key], Block)]
    wrong = [key for key in wrong if key != "start" or base[key] is not None]
    what = "must be a block of keys with a `name`"
    found = [Mistake(base.values_at[key], f"base.{key}", f"{what}, not {shown(base[key])}") for key in wrong]
    if found:
        raise Mistakes(found)


def template_of(source: Source) -> Block:
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


def resolve(template: Block, seed: int) -> TrialSpec:
    """A template as a whole trial. Raises Mistakes."""
    block = Block(template.place)
    for key in template:
        block.take(template, key)
    _views(block)
    block.put("evaluate", _evaluations(block.get("evaluate")), block.at.get("evaluate", block.place))
    block.put("seed", seed, block.place)
    if isinstance(block.get("start"), Block):
        block.put("start", _with_digest(block["start"]), block.at["start"], block.values_at["start"])
    spec = read(TrialSpec, block, template.place)
    found = [
        Mistake(place_of(block, path, template.place, True), ".".join(map(str, path)), what)
        for path, what in crosscheck(spec)
    ]
    if found:
        raise Mistakes(found)
    return spec


def _views(block: Block) -> None:
    """Where the file is silent: the recipe of the method's paper, in a size that suits the set's pictures."""
    given, method, data = block.get("views"), block.get("method"), block.get("data")
    if given is not None and not isinstance(given, Block):
        return  # refused below
    place = method.place if isinstance(method, Block) else block.place
    views = Block(given.place if given is not None else place)
    if (given is None or "name" not in given) and isinstance(name := _name(method), str):
        known = METHODS.get(name)
        # Of an unknown method, which is refused below, any recipe will do.
        views.put("name", known.recipe if known else "byol", views.place)
    if (given is None or "size" not in given) and (name := _name(data)) in SETS:
        views.put("size", SETS[name].side, views.place)
    if given is None:
        block.put("views", views, place)
        return
    for key in given:
        views.take(given, key)
    block.put("views", views, block.at["views"], block.values_at["views"])


def _name(block: Any) -> Any:
    return block.get("name") if isinstance(block, Block) else None


def _with_digest(start: Block) -> Block:
    """A start from a file with the file's whole path, and what is in it. Raises Mistakes."""
    path = start.get("path")
    if start.get("name") != "file" or not isinstance(path, str) or not path or start.get("digest"):
        return start
    place = start.values_at["path"]
    whole = (Path(place.file).parent / Path(path).expanduser()).resolve()
    try:
        content = digest(whole)
    except StartError:
        near = nearest(whole.name, [p.name for p in whole.parent.glob("*")])
        raise Mistakes([Mistake(place, "start.path", f"there is no file {whole}.{near}")]) from None
    return merge(start, located({"path": str(whole), "digest": content}, place))


def _evaluations(value: Any) -> Any:
    """`knn` is short for {name: knn}."""
    if not isinstance(value, Items):
        return Items(Place("", 0, 0)) if value is None else value
    items = Items(value.place)
    for item, place in zip(value, value.at, strict=True):
        items.append(located({"name": item}, place) if isinstance(item, str) else item)
        items.at.append(place)
    return items


def resolve_evaluations(template: Block) -> tuple[Any, ...]:
    """The evaluations that a template asks for, with their defaults."""
    return _evaluate(json.dumps(plain(_evaluations(template.get("evaluate")))))


def classes_of(data: Any) -> int | None:
    """The classes of the set that a data block names; None where they are not known without its pictures."""
    name = _name(data)
    return SETS[name].classes if name in SETS else None


@lru_cache(maxsize=256)
def _evaluate(text: str) -> tuple[Any, ...]:
    """The evaluations of a cell; none where they are refused (that is told where the cell is resolved)."""
    try:
        return TypeAdapter(tuple[EvaluationSpec, ...]).validate_json(text)
    except ValidationError:
        return ()
