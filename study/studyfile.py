"""A study file: the question, its axes and its claims, read strictly."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from models.spec import Spec
from study import document
from study.document import Block, Items, located, plain
from study.mistake import Mistake, Mistakes, Place, choices, nearest
from study.reading import read

SCALES = ("laptop", "gpu", "paper")
_RESERVED = re.compile(r"(?i)con|prn|aux|nul|(com|lpt)[0-9]")
NAME = r"^[A-Za-z0-9][A-Za-z0-9_\-]*$"


class Reproduces(Spec):
    """The published table that stands beside ours."""

    paper: str = Field(description="LEWEL, EsViT, GLSD or MCL")
    table: str = Field(description="as in the paper: Tab7, Fig3a")
    rows: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="the published rows that arms stand beside, where their names do not tell: {arm: {method: "
        "BYOL, epochs: 100}}",
    )


class ObjectiveSpec(Spec):
    """What a search improves, aggregated over seeds; a failed seed fails the point."""

    metric: str = Field("knn.top1", pattern=r"^[\w\-]+\.[\w\-]+$", description="evaluation.metric")
    goal: Literal["max", "min"] = Field("max", description="which way is better")
    over: Literal["seeds"] = Field("seeds", description="the mean over the seeds")


class SamplerSpec(Spec):
    """How points are proposed within every cell."""

    name: Literal["tpe", "random", "qmc", "cmaes", "gp", "nsga2"] = Field(
        "tpe", description="Optuna's sampler"
    )
    trials: int = Field(20, ge=1, le=100_000, description="points a cell")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="seed of the sampler")


class GuardSpec(Spec):
    """Stopped points that are trained in full after the study, to see what the scheduler threw away."""

    top: int = Field(1, ge=0, le=1000, description="the best of the stopped points of a cell")
    random: int = Field(2, ge=0, le=1000, description="and so many at random")


class SchedulerSpec(Spec):
    """Whether a trial may be stopped early; a stopped trial is recorded as pruned."""

    name: Literal["none", "asha", "median", "hyperband"] = Field("none", description="the rule")
    metric: str = Field(
        "knn.top1", pattern=r"^[\w\-]+\.[\w\-]+$", description="measured at every rung; never the loss"
    )
    goal: Literal["max", "min"] = Field("max", description="which way the metric is better")
    grace: float = Field(0.2, gt=0, lt=1, description="share of the planned training before the first rung")
    eta: int = Field(3, ge=2, le=10, description="one of eta goes on at each rung")
    guard: GuardSpec = GuardSpec()


class StudyBudget(Spec):
    """Where the study ends by itself; what is left over is planned and not run."""

    trials: int | None = Field(None, ge=1, description="trials in all")
    hours: float | None = Field(None, gt=0, description="wall-clock hours of one run")
    gpu_hours: float | None = Field(None, gt=0, description="GPU-hours over all trials")


class ClaimSpec(Spec):
    """What the study is to decide, frozen by hash when it first runs."""

    say: str = Field(description="the claim in words")
    a: dict[str, Any] = Field(description="the arms on the left: {arm: name} or {key: value}")
    b: dict[str, Any] = Field(description="the arms on the right")
    metric: str = Field(pattern=r"^[\w\-]+\.[\w\-]+$", description="evaluation.metric")
    expect: Literal["a > b", "a < b", "a = b"] = Field(description="what the paper says")
    margin: float | None = Field(None, gt=0, description="the difference that matters; needed by a = b")
    gate: bool = Field(False, description="`claims` exits 5 when this one is not supported")
    source: str | None = Field(None, description="where the paper says it")


class StudyFile(Spec):
    """The file, without the blocks that are read cell by cell (base, arms, scales)."""

    study: str = Field(pattern=NAME, max_length=80, description="the study's name, and its folder's")
    question: str = Field(min_length=1, description="what is asked; a person reads this first")
    reproduces: Reproduces | None = None
    baseline: str | None = Field(
        None, description="the arm that differences are taken to; default: the first arm"
    )
    metrics: tuple[str, ...] = Field(
        (), description="shown in the table of the question; default: every headline"
    )
    grid: dict[str, Any] = Field(default_factory=dict, description="every value is run: {key: [values]}")
    search: dict[str, Any] = Field(default_factory=dict, description="sampled: {key: {log: [low, high]}}")
    where: tuple[str, ...] = Field(
        (), description="constraints on cells, like method.dim % method.groups == 0"
    )
    seeds: int | tuple[int, ...] = Field(3, description="a number of seeds, or the seeds themselves")
    objective: ObjectiveSpec | tuple[ObjectiveSpec, ...] = ObjectiveSpec()
    sampler: SamplerSpec = SamplerSpec()
    scheduler: SchedulerSpec = SchedulerSpec()
    budget: StudyBudget = StudyBudget()
    claims: tuple[ClaimSpec, ...] = ()

    @property
    def seed_list(self) -> tuple[int, ...]:
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def objectives(self) -> tuple[ObjectiveSpec, ...]:
        return self.objective if isinstance(self.objective, tuple) else (self.objective,)


_RAW = ("base", "arms", "scales", "evaluate", "include")
_KEYS = (*StudyFile.model_fields, *_RAW)
AXES = ("arms", "grid", "search")


class Source:
    """A study file at one scale: its settings, and the blocks that cells are made of."""

    def __init__(self, path: Path, scale: str, settings: StudyFile, blocks: Block) -> None:
        self.path = path
        self.scale = scale
        self.settings = settings
        self.blocks = blocks
        self.base: Block = blocks["base"]
        self.arms: Block = blocks.get("arms") or Block(blocks.place)


def scales_of(path: Path) -> list[str]:
    """The scales that a file can be read at: those it names, and laptop. Raises Mistakes."""
    scales = included(path).get("scales")
    named = [name for name in SCALES if isinstance(scales, Block) and name in scales]
    return list(dict.fromkeys(["laptop", *named]))


def included(path: Path) -> Block:
    """The blocks of a file with those that it includes laid under them. Raises Mistakes."""
    return _included(document.read(path), path, ())


def load(path: Path, scale: str = "laptop", overrides: Iterable[str] = ()) -> Source:
    """Read a study file at one scale, with `key=value` overrides. Raises Mistakes."""
    blocks = included(path)
    found = _check_top(blocks)
    blocks = _scaled(blocks, scale, found)
    for text in overrides:
        _override(blocks, text, found)
    settings = None
    rest = Block(blocks.place)
    for key in blocks:
        if key in StudyFile.model_fields:
            rest.take(blocks, key)
    try:
        settings = read(StudyFile, rest, blocks.place)
    except Mistakes as error:
        found += error.mistakes
    if "base" not in blocks:
        found.append(
            Mistake(blocks.place, "base", "is missing: one complete trial (data, backbone, method, ...)")
        )
    for key in ("base", "arms"):
        if key in blocks and not isinstance(blocks[key], Block):
            found.append(Mistake(blocks.at[key], key, "must be a block of keys"))
    if settings is not None:
        found += _check_settings(settings, blocks)
    if found or settings is None:
        from study.resolve import of_blocks  # only here: it imports torch

        raise Mistakes([*found, *of_blocks(blocks)])
    return Source(path, scale, settings, blocks)


def _check_top(blocks: Block) -> list[Mistake]:
    """Unknown keys are read out here, where every known one can be offered."""
    found = []
    for key in [k for k in blocks if k not in _KEYS]:
        what = f"unknown key; known here: {choices(_KEYS)}.{nearest(key, _KEYS)}"
        found.append(Mistake(blocks.at[key], key, what))
        del blocks[key]
    return found


def _check_settings(settings: StudyFile, blocks: Block) -> list[Mistake]:
    found = []

    def wrong(key: str, what: str) -> None:
        found.append(Mistake(document.place_of(blocks, tuple(key.split(".")), blocks.place, True), key, what))

    if _RESERVED.fullmatch(settings.study):
        wrong("study", f"'{settings.study}' is a reserved name on some systems")
    seeds = settings.seed_list
    if not seeds or (isinstance(settings.seeds, int) and not 1 <= settings.seeds <= 1000):
        wrong("seeds", f"must be 1 to 1000 seeds, not {settings.seeds}")
    elif len(set(seeds)) < len(seeds):
        wrong("seeds", f"a seed stands twice in {list(seeds)}")
    elif any(not 0 <= s < 2**31 for s in seeds):
        wrong("seeds", "a seed must be from 0 to 2147483647")
    for i, claim in enumerate(settings.claims):
        if claim.expect == "a = b" and claim.margin is None:
            wrong(f"claims.{i}", "expect: a = b needs a `margin`, the difference that would matter")
    if (
        settings.search
        and len(settings.objectives) > 1
        and settings.sampler.name not in ("nsga2", "tpe", "random", "qmc")
    ):
        wrong(
            "sampler", f"{settings.sampler.name} takes one objective; several need nsga2, tpe, random or qmc"
        )
    return found


def _included(blocks: Block, path: Path, above: tuple[Path, ...]) -> Block:
    """Put the base and scales of the included files under this file's own; where it has no `evaluate` or no
    axes, theirs as well: the same trials, asked another question."""
    if "include" not in blocks:
        return blocks
    names = blocks["include"]
    names = names if isinstance(names, Items) else [names]
    place = blocks.values_at["include"]
    for name in names:
        if not isinstance(name, str):
            raise Mistakes([Mistake(place, "include", "must be the path of a study file, or a list of them")])
        other = (path.parent / name).resolve()
        if other in (*above, path.resolve()):
            raise Mistakes([Mistake(place, "include", f"{name} includes itself")])
        if not other.is_file():
            near = nearest(name, [p.name for p in path.parent.glob("*.y*ml")])
            raise Mistakes([Mistake(place, "include", f"there is no file {name} beside {path.name}.{near}")])
        shared = _included(document.read(other, str(path.parent / name)), other, (*above, path.resolve()))
        taken = _taken(blocks)
        for key in (*taken, "scales"):
            if key not in shared:
                continue
            if key == "scales" and isinstance(shared[key], Block):
                shared.put(key, _only(shared[key], taken), shared.at[key], shared.values_at[key])
            if key not in blocks:
                blocks.take(shared, key)
            elif isinstance(shared[key], Block) and isinstance(blocks[key], Block):
                merged = merge(shared[key], blocks[key])
                blocks.put(key, merged, blocks.at[key], blocks.values_at[key])
    return blocks


def _taken(blocks: Block) -> tuple[str, ...]:
    """The keys that a file takes over from one that it includes."""
    axes = () if any(key in blocks for key in AXES) else (*AXES, "where", "baseline")
    return ("base", *(key for key in ("evaluate", *axes) if key not in blocks))


def _only(scales: Block, keys: tuple[str, ...]) -> Block:
    kept = Block(scales.place)
    for name, scale in scales.items():
        if isinstance(scale, Block) and any(key in scale for key in keys):
            only = Block(scale.place)
            for key in [k for k in keys if k in scale]:
                only.take(scale, key)
            kept.put(name, only, scales.at[name])
    return kept


def _scaled(blocks: Block, scale: str, found: list[Mistake]) -> Block:
    scales = blocks.get("scales")
    if scales is None:
        if scale != "laptop":
            raise Mistakes(f"{blocks.place.file}: has no scale '{scale}': the file has no `scales:`")
        return blocks
    if not isinstance(scales, Block):
        raise Mistakes([Mistake(blocks.at["scales"], "scales", "must be a block with laptop, gpu and paper")])
    for key in scales:
        if key not in SCALES:
            what = f"unknown scale; known: {choices(SCALES)}.{nearest(key, SCALES)}"
            found.append(Mistake(scales.at[key], f"scales.{key}", what))
    if scale not in scales:
        if scale == "laptop":
            return blocks
        raise Mistakes([Mistake(scales.place, "scales", f"has no scale '{scale}'; it has {choices(scales)}")])
    change = scales[scale]
    if change is None or change == {}:
        return blocks
    if not isinstance(change, Block):
        raise Mistakes([Mistake(scales.at[scale], f"scales.{scale}", "must be a block of keys")])
    for key in [k for k in change if k not in _KEYS or k in ("scales", "study", "include")]:
        what = f"cannot stand in a scale; what can: {choices(k for k in _KEYS if k not in ('scales', 'study', 'include'))}"
        found.append(Mistake(change.at[key], f"scales.{scale}.{key}", f"{what}.{nearest(key, _KEYS)}"))
        del change[key]
    result = Block(blocks.place)
    for key in blocks:
        result.take(blocks, key)
    for key in change:
        if key in ("base", "arms") and isinstance(change[key], Block) and isinstance(result.get(key), Block):
            result.put(key, merge(result[key], change[key]), change.at[key])
        else:
            result.take(change, key)
    return result


def merge(under: Block, over: Block) -> Block:
    """`over` laid on `under`, key by key. A block whose `name` differs replaces the whole block: the keys of
    one method mean nothing to another."""
    if "name" in over and "name" in under and over["name"] != under["name"]:
        return over
    result = Block(over.place)
    for key in under:
        result.take(under, key)
    for key in over:
        if isinstance(over[key], Block) and isinstance(result.get(key), Block):
            result.put(key, merge(result[key], over[key]), over.at[key], over.values_at[key])
        else:
            result.take(over, key)
    return result


def changed(block: Block, path: tuple[str, ...], value: Any, place: Place) -> Block:
    """A copy of `block` with `value` at `path`; blocks on the way are made where they are missing."""
    result = Block(block.place)
    for key in block:
        result.take(block, key)
    head, rest = path[0], path[1:]
    if rest:
        inner = result.get(head)
        inner = inner if isinstance(inner, Block) else Block(place)
        result.put(head, changed(inner, rest, value, place), result.at.get(head, place), place)
        result.values_at[head] = inner.place
    elif isinstance(value, Block) and isinstance(result.get(head), Block):
        result.put(head, merge(result[head], value), place)
    else:
        result.put(head, located(plain(value), place), place)
    return result


def _override(blocks: Block, text: str, found: list[Mistake]) -> None:
    """`optim.lr=0.1` or `seeds=5`, as if the file said so."""
    place = Place(f"--set {text}", 1, 1)
    key, sign, value_text = text.partition("=")
    path = tuple(key.strip().split("."))
    if not sign or not all(path):
        found.append(Mistake(None, f"--set {text}", "must look like optim.lr=0.1"))
        return
    value = document.parse(f"value: {value_text}", place.file)["value"]
    if path[0] not in _KEYS or (
        len(path) > 1 and path[0] == "budget" and path[1] not in StudyBudget.model_fields
    ):
        path = ("base", *path)
    if path[0] in ("grid", "search") and len(path) > 2:  # an axis's key has dots of its own
        path = (path[0], ".".join(path[1:]))
    blocks_new = changed(blocks, path, value, place)
    for name in blocks_new:
        blocks.take(blocks_new, name)
