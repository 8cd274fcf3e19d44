"""Bad study files: each is refused in one plain line, at its place, with what is allowed; none with a traceback."""

from __future__ import annotations

import contextlib
import random
import string
import time
from pathlib import Path

import pytest

from study.mistake import Mistakes
from study.space import Space
from study.studyfile import load

GOOD = """\
study: small
question: Does it refuse what it should?
base:
  data:     {name: digits}
  backbone: {name: resnet_tiny}
  method:   {name: lewel_b, dim: 64, channels: 64, groups: 4, hidden: 128, batch_norm: sync}
  views:    {size: 16, flip: 0.0}
  optim:    {name: sgd, lr: 0.1, weight_decay: 1e-4}
  budget:   {epochs: 12, batch: 32}
evaluate: [knn, linear]
grid:
  method.groups: [1, 2, 4]
arms:
  byol: {method: {name: byol, dim: 64, hidden: 128}}
baseline: byol
seeds: 3
"""
DINO = "  method:   {name: dino, out_dim: 64, hidden: 32, bottleneck: 16, matching: similarity}"
METHOD, VIEWS, OPTIM, BUDGET, EVALUATE = (GOOD.splitlines()[i] for i in (5, 6, 7, 8, 9))
GRID = "grid:\n  method.groups: [1, 2, 4]\n"
ALONE = GOOD.replace(GRID, "").replace("baseline: byol\n", "")  # only the arm byol, whatever the base's method


def refusal(text: str | bytes, folder: Path, scale: str = "laptop", overrides: tuple[str, ...] = ()) -> str:
    """What the file is refused with; an empty text when it is not."""
    path = folder / "f.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        Space(load(path, scale, overrides))
    except Mistakes as error:
        return str(error).replace(str(path), "f.yaml")
    return ""


def swapped(old: str, new: str, text: str = GOOD) -> str:
    assert old in text, old
    return text.replace(old, new, 1)


def method(line: str, rest: str = "") -> str:
    """The good file with one arm, of this method; `rest` is put at its end."""
    text = swapped(METHOD, "  method:   " + line, GOOD).replace(GRID, "")
    head, _, tail = text.partition("arms:\n")
    return head + tail.partition("baseline: byol\n")[2] + rest


def dino(extra: str = "", views: str = "size: 16, local_crops: 2, local_size: 8") -> str:
    text = method("{name: dino, out_dim: 64, hidden: 32, bottleneck: 16, batch_norm: sync" + extra + "}")
    return swapped(VIEWS, "  views:    {" + views + "}", text)


def test_the_good_files_are_good(tmp_path: Path) -> None:
    for text in (GOOD, dino(), method("{name: moco_v2, queue: 64}"), method("{name: byol}")):
        assert refusal(text, tmp_path) == ""


FILE = {  # section 4.1: the file and YAML
    "4 empty": ("", "f.yaml:1:1: the file is empty; a study needs `study:`"),
    "4 only comments": ("# nothing\n", "the file is empty"),
    "5 list at the top": ("- a\n- b\n", "f.yaml:1:1: the file must be a mapping of keys"),
    "5 text at the top": ("hello\n", "the file must be a mapping of keys"),
    "6 tab": ("study: a\nbase:\n\tdata: 1\n", "f.yaml:3:1: tabs cannot indent YAML"),
    "7 quote": ("study: 'a\nquestion: b\n", "unclosed quote"),
    "7 bracket": ("study: a\ngrid: [1, 2\nseeds: 3\n", "f.yaml:3:"),
    "8 two documents": (GOOD + "---\nstudy: b\n", "f.yaml:17:1: a second document begins here; one study a file"),
    "9 duplicate": (
        swapped("lr: 0.1", "lr: 0.1, lr: 0.2"),
        "f.yaml:8:34: base.optim.lr: the key stands twice (first in line 8)",
    ),
    "10 tag": (swapped("seeds: 3", "seeds: !!python/object:os.system 3"), "f.yaml:16:8: seeds: tags are not allowed"),
    "10 local tag": (swapped("seeds: 3", "seeds: !mine 3"), "tags are not allowed (!mine)"),
    "10 explicit tag": (swapped("seeds: 3", "seeds: !!int 3"), "tags are not allowed (!!int)"),
    "10 explicit text": (swapped("seeds: 3", "seeds: !!str 3"), "tags are not allowed (!!str)"),
    "11 aliases": (
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{c}: &{c} [{', '.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefg", "bcdefgh")),
        "aliases (&, *) expand to too many values",
    ),
    "11 alias of itself": ("study: &a [*a]\n", "f.yaml:1:"),
    "12 nesting": ("study: " + "[" * 40 + "]" * 40 + "\n", "more than 32 levels of nesting"),
    "12 deep nesting": ("study: " + "[" * 5000, "more than 32 levels of nesting"),
    "13 large": ("study: " + "x" * 1_100_000, "f.yaml: is 1,100,007 bytes long; a study file has at most 1,000,000"),
    "14 NUL": (b"study: a\x00b\n", "f.yaml:1:9: not text: character 0x00"),
    "14 not UTF-8": (b"study: \xff\xfe\n", "f.yaml: is not UTF-8 text (byte 7)"),
    "16 key is a list": ("? [a, b]\n: 1\n", "a key must be a word"),
    "16 key is a number": (GOOD + "1: 2\n", "f.yaml:17:1: 1: unknown key"),
    "16 key is true": (GOOD + "true: 2\n", "true: unknown key"),
    "merge": (swapped(VIEWS, "  views: {<<: {size: 16}}"), "merge keys (<<) are not allowed"),
}


@pytest.mark.parametrize("case", FILE)
def test_yaml(case: str, tmp_path: Path) -> None:
    text, message = FILE[case]
    assert message in refusal(text, tmp_path)


def test_a_file_that_is_not_there_or_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "groups.yaml").write_text(GOOD)
    with pytest.raises(Mistakes, match=r"grops\.yaml: cannot be read: No such file.*Did you mean 'groups\.yaml'\?"):
        load(tmp_path / "grops.yaml")
    with pytest.raises(Mistakes, match="Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize("text", [b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("\n", "\r\n").encode()])
def test_a_byte_order_mark_and_windows_lines_are_read(text: bytes, tmp_path: Path) -> None:
    assert refusal(text, tmp_path) == ""


VALUES = {  # sections 4.2 and 4.3: types, names, ranges
    "20 number in quotes": (swapped("lr: 0.1", 'lr: "0.1"'), "f.yaml:8:29: optim.lr: must be a number, not the text '0.1'"),
    "19 number with exponent in quotes": (swapped("lr: 0.1", "lr: '1e-3'"), "must be a number, not the text '1e-3'"),
    "21 half an epoch": (swapped("epochs: 12", "epochs: 10.5"), "budget.epochs: must be a whole number, not 10.5"),
    "23 true epochs": (swapped("epochs: 12", "epochs: true"), "budget.epochs: must be a whole number, not true"),
    "24 octal": (swapped("seeds: 3", "seeds: 010"), "f.yaml:16:8: seeds: '010' would be read as octal"),
    "24 hexadecimal": (swapped("seeds: 3", "seeds: 0x10"), "'0x10' would be read as octal or hexadecimal"),
    "25 base 60": (swapped("epochs: 12", "epochs: 1:30"), "'1:30' would be read as base 60"),
    "26 no": (swapped("flip: 0.0", "flip: no"), "'no' is ambiguous in YAML; write true or false"),
    "27 nan": (swapped("lr: 0.1", "lr: .nan"), "base.optim.lr: '.nan' is not a finite number"),
    "27 nan in words": (swapped("lr: 0.1", "lr: nan"), "must be a number, not the text 'nan'"),
    "27 inf": (swapped("lr: 0.1", "lr: -.inf"), "'-.inf' is not a finite number"),
    "28 nothing": (swapped("lr: 0.1", "lr: "), "optim.lr: must be a number, not null"),
    "29 list for a name": (swapped(METHOD, "  method:   [byol]"), "base.method: must be a block of keys with a `name`"),
    "29 word for a block": (swapped(METHOD, "  method: byol"), "base.method: must be a block of keys with a `name`"),
    "30 text for a list": (swapped("size: 16", "scale: 0.2-1"), "views.scale: must be a list, like [a, b], not the text '0.2-1'"),
    "31 date": (swapped("study: small", "study: 2024-01-01"), ""),
    "32 text for a number": (swapped("batch: 32", "batch: all"), "must be a whole number, not the text 'all'"),
    "33 large number": (swapped("batch: 32", "batch: 99999999999999999999"), "is too large a number"),
    "33 large power": (swapped("lr: 0.1", "lr: 1e999"), "'1e999' is too large a number"),
    "34 number for text": (swapped("study: small", "study: 1.10"), "f.yaml:1:8: study: must be text, not 1.1"),
    "35 key": (swapped("seeds: 3", "seed: 3"), "f.yaml:16:1: seed: unknown key; known here: study, question"),
    "35 nearest key": (swapped("baseline:", "basline:"), "Did you mean 'baseline'?"),
    "35 block": (swapped("  method: ", "  metod: "), "base.metod: unknown key; known here: data, backbone, method"),
    "35 key of a block": (swapped("flip: 0.0", "flipp: 0.0"), "views.flipp: unknown key; known here:"),
    "35 nearest key of a block": (swapped("flip: 0.0", "flipp: 0.0"), "Did you mean 'flip'?"),
    "36 method": (swapped("name: lewel_b", "name: lewel_c"), "method.name: 'lewel_c' is not known; choose from byol,"),
    "36 nearest method": (swapped("name: lewel_b", "name: lewelb"), "Did you mean 'lewel_b'?"),
    "37 backbone": (swapped("resnet_tiny", "swin_huge"), "backbone.name: 'swin_huge' is not known; choose from"),
    "38 optimizer": (swapped("name: sgd", "name: adamq"), "'adamq' is not known; choose from sgd, lars, adamw. Did you mean 'adamw'?"),
    "36 data": (swapped("name: digits", "name: digit"), "data.name: 'digit' is not known; choose from"),
    "36 evaluation": (swapped("[knn, linear]", "[knn, linaer]"), "'linaer' is not known; choose from"),
    "39 path as a name": (swapped("study: small", "study: ../../etc"), "study: '../../etc' is not allowed here (letters, digits"),
    "39 spaces": (swapped("study: small", "study: a b"), "study: 'a b' is not allowed here"),
    "39 long": (swapped("study: small", "study: " + "a" * 200), "study: is longer than 80 characters"),
    "40 dash first": (swapped("study: small", "study: -x"), "study: '-x' is not allowed here"),
    "40 device name": (swapped("study: small", "study: CON"), "study: 'CON' is a reserved name"),
    "41 lr 0": (swapped("lr: 0.1", "lr: 0"), "optim.lr: must be above 0, not 0"),
    "41 lr negative": (swapped("lr: 0.1", "lr: -0.1"), "must be above 0, not -0.1"),
    "43 weight decay": (swapped("weight_decay: 1e-4", "weight_decay: -1"), "must be at least 0, not -1"),
    "44 batch 0": (swapped("batch: 32", "batch: 0"), "budget.batch: must be at least 1, not 0"),
    "45 batch 1": (swapped("batch: 32", "batch: 1"), "budget.batch: must be at least 2 (batch statistics need two pictures), not 1"),
    "45 one picture a pass": (swapped("batch: 32", "batch: 32, accumulate: 32"), "32 leaves 1 picture a pass of budget.batch 32"),
    "46 epochs 0": (swapped("epochs: 12", "epochs: 0"), "must be at least 1, not 0"),
    "47 momentum": (method("{name: byol, momentum: 1.2}"), "method.momentum: must be at most 1, not 1.2"),
    "48 temperature": (method("{name: moco_v2, queue: 64, temperature: 0}"), "method.temperature: must be above 0, not 0"),
    "51 scale turned round": (swapped("flip: 0.0", "scale: [0.5, 0.1]"), "scale runs from 0.5 down to 0.1"),
    "52 scale beyond the picture": (swapped("flip: 0.0", "scale: [0.1, 2]"), "must be at most 1, not 2"),
    "52 scale 0": (swapped("flip: 0.0", "scale: [0, 1]"), "must be above 0, not 0"),
    "52 three numbers": (swapped("flip: 0.0", "scale: [0.1, 0.2, 0.3]"), "views.scale"),
    "55 drop path": (swapped("{name: resnet_tiny}", "{name: swin_tiny, image_size: 16, drop_path: 1.0}"), "must be below 1, not 1"),
    "56 probability": (swapped("flip: 0.0", "blur: 1.5"), "views.blur: must be at most 1, not 1.5"),
    "58 out_dim": (dino().replace("out_dim: 64", "out_dim: -1"), "method.out_dim: must be at least 2, not -1"),
    "61 precision": (swapped("batch: 32", "batch: 32, precision: fp8"), "'fp8' is not known; choose from fp32, bf16, fp16"),
    "62 seed": (swapped("seeds: 3", "seeds: [-1, 2]"), "seeds: a seed must be from 0 to 2147483647"),
    "62 no seeds": (swapped("seeds: 3", "seeds: 0"), "seeds: must be 1 to 1000 seeds, not 0"),
    "62 seed twice": (swapped("seeds: 3", "seeds: [1, 1]"), "seeds: a seed stands twice in [1, 1]"),
    "62 seeds in words": (swapped("seeds: 3", "seeds: three"), "f.yaml:16:8: seeds: must be a whole number or a list, like [a, b], not the text 'three'"),
    "question missing": (swapped("question: Does it refuse what it should?\n", ""), "question: is missing"),
    "base missing": (GOOD.partition("base:")[0], "base: is missing"),
    "block missing": (swapped(OPTIM + "\n", ""), "optim: is missing"),
    "seed in base": (swapped(BUDGET, BUDGET + "\n  seed: 3"), "base.seed: unknown key; known here: the study's own top level"),
}
VALUES.pop("31 date")  # a study may be called by a date: it is text here


@pytest.mark.parametrize("case", VALUES)
def test_values(case: str, tmp_path: Path) -> None:
    text, message = VALUES[case]
    assert message in refusal(text, tmp_path)


def test_a_name_that_looks_like_a_date_and_a_number_with_an_exponent_are_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(swapped("study: small", "study: 2024-01-01").replace("lr: 0.1", "lr: 1e-3"))
    space = Space(load(path))
    assert space.settings.study == "2024-01-01"
    assert next(space.fixed()).spec.optim.lr == 0.001


COMBINATIONS = {  # section 4.4
    "50 queue": (method("{name: moco_v2, queue: 65}"), "f.yaml:6:36: method.queue: must be a multiple of budget.batch 32, not 65"),
    "50 queue above the set": (method("{name: moco_v2, queue: 3200}"), "3200 keys are more than the 1442 training pictures"),
    "53 patch": (
        swapped("{name: resnet_tiny}", "{name: swin_tiny, image_size: 17}").replace("size: 16, flip", "size: 17, flip"),
        "views.size: must be a multiple of swin_tiny's patch of 2 px, not 17; nearest 16, 18",
    ),
    "53 windows": (swapped("{name: resnet_tiny}", "{name: swin_tiny}"), "backbone.image_size: lays windows out for 32 px, but views.size is 16"),
    "54 stride": (swapped("{name: resnet_tiny}", "{name: resnet18}"), "views.size: 16 px are fewer than the 32 px of one place of resnet18's map"),
    "54 local stride": (
        dino().replace("{name: resnet_tiny}", "{name: resnet18, stem: small}").replace("local_size: 8", "local_size: 12"),
        "",
    ),
    "54 small local crop": (
        dino(views="size: 32, local_crops: 2, local_size: 24").replace("{name: resnet_tiny}", "{name: resnet18}"),
        "views.local_size: 24 px are fewer than the 32 px",
    ),
    "54 local above the large": (dino(views="size: 16, local_size: 32"), "local_size 32 is above size 16"),
    "57 warm-up": (swapped("lr: 0.1", "lr: 0.1, warmup: 20"), "f.yaml:8:42: optim.warmup: 20 epochs are more than budget.epochs 12"),
    "57 default warm-up": (
        swapped(OPTIM, "  optim: {name: lars}").replace("epochs: 12", "epochs: 5"),
        "optim.warmup: 10 epochs, lars's default, are more than budget.epochs 5",
    ),
    "57 milestones": (swapped("lr: 0.1", "lr: 0.1, schedule: step, milestones: [5, 12]"), "epoch 12 is never reached: budget.epochs is 12"),
    "57 milestones alone": (swapped("lr: 0.1", "lr: 0.1, milestones: [5]"), "schedule cosine_epoch does not go with milestones [5]"),
    "57 regions": (dino(", matching: geometric, region_from_epoch: 12"), "method.region_from_epoch: 12 is never reached"),
    "63 window of a ResNet": (swapped("{name: resnet_tiny}", "{name: resnet_tiny, window: 7}"), "backbone.window: unknown key; known here: blocks, name, width"),
    "64 local crops": (swapped("size: 16", "size: 16, local_crops: 2"), "local_crops 2 needs recipe dino, but name is byol"),
    "64 views": (swapped("size: 16", "size: 16, count: 3"), "views.count: lewel_b takes exactly 2 views, not 3"),
    "64 multi-crop recipe": (swapped("size: 16", "name: dino, size: 16"), "lewel_b takes exactly 2 views, not 10"),
    "64 dino without pairs": (dino(", globals: 3"), "dino with method.globals 3 needs more than 2 large views"),
    "64 montages": (method("{name: mcl, levels: 3}"), "mcl with method.levels 3 takes 6 views, not 8"),
    "65 queue of BYOL": (method("{name: byol, queue: 64}"), "method.queue: unknown key; known here: batch_norm, devices"),
    "66 levels": (
        method("{name: mcl, levels: 4, width: 16, hidden: 32}").replace("size: 16", "size: 32"),
        "method.levels: 4 levels need as many stages for an FPN; resnet_tiny has 3 (c4 needs one)",
    ),
    "66 montage size": (
        method("{name: mcl, levels: 2}").replace("size: 16", "size: 18, count: 4"),
        "views.size: montages need a multiple of resnet_tiny's stride of 4 px, not 18; nearest 16, 20",
    ),
    "67 groups and dim": (swapped("[1, 2, 4]", "[1, 3]"), "dim 64 must be a multiple of groups 3"),
    "67 groups and channels": (
        method("{name: lewel_b, dim: 192, channels: 64, groups: 3}"),
        "method.groups: must divide the 128 channels of resnet_tiny, not 3",
    ),
    "69 accumulate": (swapped("batch: 32", "batch: 32, accumulate: 3"), "f.yaml:9:49: budget.accumulate: must divide budget.batch 32, not 3"),
    "69 devices": (method("{name: byol, batch_norm: per_device, devices: 5}"), "method.devices: must divide the 32 pictures of a pass"),
    "70 neighbours": (swapped("[knn, linear]", "[{name: knn, k: 2000}]"), "evaluate.0.k: 2000 neighbours are more than the 1442 training pictures"),
    "70 neighbours 0": (swapped("[knn, linear]", "[{name: knn, k: 0}]"), "at least 1 neighbour must vote"),
    "71 classes": (method("{name: supervised, classes: 1000}"), "method.classes: must be the 10 classes of digits, not 1000"),
    "96 batch above the set": (swapped("batch: 32", "batch: 2048"), "budget.batch: 2048 is more than the 1442 training pictures of digits"),
    "96 batch above the part": (
        swapped("{name: digits}", "{name: digits, fraction: 0.01}"),
        "budget.batch: 32 is more than the 14 training pictures of 0.01 of digits",
    ),
    "label twice": (swapped("[knn, linear]", "[knn, knn]"), "evaluate.1: 'knn' stands twice; give one of them another `label`"),
}
COMBINATIONS.pop("54 local stride")


@pytest.mark.parametrize("case", COMBINATIONS)
def test_combinations(case: str, tmp_path: Path) -> None:
    text, message = COMBINATIONS[case]
    assert message in refusal(text, tmp_path)


def searched(line: str, rest: str = "") -> str:
    return GOOD + "search:\n  " + line + "\n" + rest


SEARCH = {  # section 4.5, and the schedulers and metrics of 4.4
    "72 grace": (GOOD + "scheduler: {name: asha, grace: 50}\n", "scheduler.grace: must be below 1, not 50"),
    "73 metric of the loss": (
        searched("optim.lr: {log: [0.1, 1]}", "scheduler: {name: asha, metric: loss}\n"),
        "scheduler.metric: 'loss' must look like knn.top1",
    ),
    "74 metric": (searched("optim.lr: {log: [0.1, 1]}", "objective: {metric: kn.top1}\n"), "objective.metric: there is no evaluation 'kn' in `evaluate`; it has knn, linear. Did you mean 'knn'?"),
    "74 default metric": (
        swapped("[knn, linear]", "[linear]", searched("optim.lr: {log: [0.1, 1]}")),
        "objective.metric: there is no evaluation 'knn' in `evaluate`; it has linear",
    ),
    "74 shown metric": (GOOD + "metrics: [lineer.top1]\n", "metrics.0: there is no evaluation 'lineer'"),
    "75 goal": (GOOD + "objective: {metric: knn.top1, goal: maximum}\n", "objective.goal: 'maximum' is not known; choose from max, min. Did you mean 'max'?"),
    "79 log from 0": (searched("optim.lr: {log: [0, 1]}"), "f.yaml:18:3: search.optim.lr: log needs numbers above 0, not [0, 1]"),
    "80 turned round": (searched("optim.lr: {uniform: [1, 0.1]}"), "low must be below high, not [1, 0.1]"),
    "81 no choices": (searched("optim.lr: {choice: []}"), "choice needs a list, not []"),
    "81 empty grid": (swapped("[1, 2, 4]", "[]"), "f.yaml:12:3: grid.method.groups: must be a list of values, like [1, 2], not []"),
    "82 whole numbers": (searched("budget.epochs: {int: [1.5, 3]}"), "int needs whole numbers, not [1.5, 3]"),
    "83 three numbers": (searched("optim.lr: {uniform: [0, 1, 3]}"), "uniform needs two numbers, [low, high], not [0, 1, 3]"),
    "84 kind": (searched("optim.lr: {logg: [0.1, 1]}"), "unknown kind; known: log, uniform, int, choice. Did you mean 'log'?"),
    "84 not a kind": (searched("optim.lr: [0.1, 1]"), "must be one of {log: [low, high]}"),
    "85 grid and search": (searched("method.groups: {choice: [1, 2]}"), "is in the grid and in the search; keep one"),
    "86 key": (searched("optim.lrr: {log: [0.1, 1]}"), "search.optim.lrr: optim has no key 'lrr'; it has"),
    "86 nearest key": (swapped("method.groups", "method.group"), "Did you mean 'groups'?"),
    "86 block": (swapped("method.groups", "metod.groups"), "grid.metod.groups: must begin with one of data, backbone, method"),
    "86 seeds": (swapped("  method.groups: [1, 2, 4]", "  seed: [1, 2]"), "seeds are not an axis; use the key `seeds`"),
    "86 below a number": (searched("optim.lr.deep: {log: [0.1, 1]}"), "search.optim.lr.deep: optim.lr is a single value; it has no key 'deep'"),
    "87 sampler": (GOOD + "sampler: {name: bayes}\n", "sampler.name: 'bayes' is not known; choose from tpe, random"),
    "88 grid": (
        swapped("  method.groups: [1, 2, 4]", "\n".join(f"  optim.{k}: [{', '.join(str(0.1 + 0.001 * i) for i in range(101))}]" for k in ("lr", "weight_decay", "momentum"))),
        "grid: makes 1,030,301 cells; at most 5,000 are allowed",
    ),
    "89 trials": (GOOD + "sampler: {trials: 0}\n", "sampler.trials: must be at least 1, not 0"),
    "89 budget": (GOOD + "budget: {trials: 0}\n", "budget.trials: must be at least 1, not 0"),
    "90 nothing left": (GOOD + "where: ['method.dim > 1000']\n", "where: excludes every one of the 4 cells"),
    "value twice": (swapped("[1, 2, 4]", "[1, 2, 2]"), "grid.method.groups: a value stands twice in [1, 2, 2]"),
    "where as code": (GOOD + "where: ['__import__(\"os\")']\n", "call is not allowed; only arithmetic and comparisons are"),
    "where with a power": (GOOD + "where: ['9**9**9 > 1']\n", "is not allowed; only arithmetic and comparisons are"),
    "where unfinished": (GOOD + "where: ['method.dim %']\n", "f.yaml:17:9: where.0: 'method.dim %' is not an expression"),
    "where unknown key": (GOOD + "where: ['method.grops > 1']\n", "there is no key method.grops"),
    "where divided by 0": (GOOD + "where: ['method.dim % 0 == 0']\n", "cannot be computed"),
    "where long": (GOOD + "where: ['" + "1 + " * 200 + "1 > 0']\n", "is longer than 500 characters"),
    "where text": (GOOD + "where: method.dim > 3\n", "where: must be a list, like [a, b], not the text 'method.dim > 3'"),
    "baseline": (swapped("baseline: byol", "baseline: byoll"), "f.yaml:15:11: baseline: there is no arm 'byoll'; there are byol, groups=1"),
    "claim": (
        GOOD + "claims: [{say: s, a: {method.groups: 8}, b: {method.groups: 1}, metric: knn.top1, expect: a > b}]\n",
        "claims.0.a: no arm has {'method.groups': 8}; there are byol, groups=1",
    ),
    "claim of equality": (
        GOOD + "claims: [{say: s, a: {method.groups: 4}, b: {method.groups: 1}, metric: knn.top1, expect: a = b}]\n",
        "claims.0: expect: a = b needs a `margin`",
    ),
    "claim without a side": (GOOD + "claims: [{say: s, metric: knn.top1, expect: a > b}]\n", "claims.0.a: is missing"),
    "arm not a block": (swapped("  byol: {method: {name: byol, dim: 64, hidden: 128}}", "  byol: 3"), "arms.byol: must be a block of keys"),
    "key of an arm": (swapped("byol: {method:", "byol: {metod:"), "arms.byol.metod: unknown key; known here: data"),
    "value of an arm": (swapped("name: byol, dim: 64", "name: byol, dim: none"), "f.yaml:14:36: method.dim: must be a whole number"),
    "CMA-ES with two objectives": (
        searched("optim.lr: {log: [0.1, 1]}", "sampler: {name: cmaes}\nobjective: [{metric: knn.top1}, {metric: linear.top1}]\n"),
        "sampler: cmaes takes one objective",
    ),
    "scale": (GOOD + "scales: {lapotp: {}}\n", "scales.lapotp: unknown scale; known: laptop, gpu, paper. Did you mean 'laptop'?"),
    "key of a scale": (GOOD + "scales: {laptop: {study: other}}\n", "scales.laptop.study: cannot stand in a scale"),
}


@pytest.mark.parametrize("case", SEARCH)
def test_search_and_settings(case: str, tmp_path: Path) -> None:
    text, message = SEARCH[case]
    assert message in refusal(text, tmp_path)


SETS = {  # section 4.7
    "98 no sign": ("optim.lr", "--set optim.lr: must look like optim.lr=0.1"),
    "98 unknown": ("foo=1", "foo: unknown key"),
    "98 unknown in a block": ("optim.lrr=1", "optim.lrr: unknown key"),
    "98 value": ("optim.lr=fast", "optim.lr: must be a number, not the text 'fast'"),
    "98 not YAML": ("optim.lr=[1", "not valid YAML"),
    "98 empty key": ("=3", "must look like optim.lr=0.1"),
    "98 empty part": ("optim..lr=3", "must look like optim.lr=0.1"),
}


@pytest.mark.parametrize("case", SETS)
def test_overrides(case: str, tmp_path: Path) -> None:
    text, message = SETS[case]
    found = refusal(GOOD, tmp_path, overrides=(text,))
    assert message in found
    assert found.startswith("--set ")


def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("lr: 0.1", "lr: fast").replace("epochs: 12", "epochs: 0").replace("seeds: 3", "seeds: x")
    text = text.replace("name: digits", "name: digit").replace("flip: 0.0", "flpi: 0.0").replace("baseline", "bsaeline")
    found = refusal(text, tmp_path).splitlines()
    assert [line.split(": ")[1] for line in found] == [
        "data.name",
        "views.flpi",
        "optim.lr",
        "budget.epochs",
        "bsaeline",
        "seeds",
    ]


def test_very_many_mistakes_are_counted(tmp_path: Path) -> None:
    text = GOOD + "".join(f"unknown_{i}: 1\n" for i in range(100))
    found = refusal(text, tmp_path).splitlines()
    assert len(found) == 41
    assert found[-1] == "... and 60 more mistakes"


def mutated(text: str, rng: random.Random) -> bytes:
    """The text with one to three accidents of an editor: lines, words, characters, values."""
    values = ["", "null", "true", "-1", "0", "1e308", "1e-400", ".nan", "'x'", "[]", "{}", "[1, [2]]", "{a: 1}", "010", "1:30", "~",
              "&a 1", "*a", "!!set {}", "!x", "2024-01-01", "99999999999999999999999", "-0.0", "\u00e9", '"\\x00"', "|", ">", "? ", "- 1"]  # fmt: skip
    for _ in range(rng.randint(1, 3)):
        lines = text.split("\n")
        i = rng.randrange(len(lines))
        kind = rng.randrange(9)
        if kind == 0:
            del lines[i]
        elif kind == 1:
            lines.insert(i, lines[rng.randrange(len(lines))])
        elif kind == 2:
            lines[i] = "  " * rng.randint(0, 3) + lines[i].strip()
        elif kind == 3 and ":" in lines[i]:
            lines[i] = lines[i].split(":")[0] + ": " + rng.choice(values)
        elif kind == 4:
            words = lines[i].split(" ")
            words[rng.randrange(len(words))] = rng.choice(values)
            lines[i] = " ".join(words)
        elif kind == 5 and lines[i]:
            at = rng.randrange(len(lines[i]))
            lines[i] = lines[i][:at] + rng.choice(string.printable) + lines[i][at + 1 :]
        elif kind == 6 and lines[i]:
            at = rng.randrange(len(lines[i]))
            lines[i] = lines[i][:at] + lines[i][at + 1 :]
        elif kind == 7:
            j = rng.randrange(len(lines))
            lines[i], lines[j] = lines[j], lines[i]
        else:
            numbers = [w for w in lines[i].replace(",", " ").replace("}", " ").split() if w[:1].isdigit()]
            if numbers:
                lines[i] = lines[i].replace(rng.choice(numbers), rng.choice(values), 1)
        text = "\n".join(lines)
    data = text.encode()
    if rng.random() < 0.05:
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.randbytes(rng.randint(1, 4)) + data[at:]
    return data


FULL = (
    GOOD
    + """\
search: {optim.lr: {log: [0.01, 1.0]}, optim.momentum: {choice: [0.9, 0.99]}}
where: ["method.dim % method.groups == 0", "optim.lr < 0.5 or method.groups in [1, 2]"]
objective: {metric: knn.top1, goal: max}
sampler: {name: tpe, trials: 4, seed: 1}
scheduler: {name: asha, grace: 0.2, eta: 3}
scales:
  laptop: {}
  gpu: {base: {data: {name: cifar10}, backbone: {name: resnet18, stem: small}, views: {size: 32}, budget: {batch: 256}}}
claims:
  - say: four groups beat one
    a: {method.groups: 4}
    b: {method.groups: 1}
    metric: linear.top1
    expect: a > b
"""
)


def mutate(count: int, seed: int, folder: Path) -> tuple[int, float]:
    """Files that were accepted, and the longest seconds that one took. Whatever is raised but Mistakes is a
    failure, with the file's text."""
    rng, good, longest = random.Random(seed), 0, 0.0
    path = folder / "m.yaml"
    for i in range(count):
        data = mutated(rng.choice([FULL, GOOD, dino()]), rng)
        path.write_bytes(data)
        began = time.process_time()
        try:
            with contextlib.suppress(Mistakes):
                space = Space(load(path, rng.choice(["laptop", "gpu"])))
                good += 1
                space.count()
        except Exception as error:
            raise AssertionError(f"mutation {i} of seed {seed}: {data!r}") from error
        longest = max(longest, time.process_time() - began)
    return good, longest


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    good, longest = mutate(300, 0, tmp_path)
    assert 5 < good < 200
    assert longest < 5


@pytest.mark.slow
def test_ten_thousand_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    good, longest = mutate(10_000, 1, tmp_path)
    assert 150 < good < 6_000
    assert longest < 5
