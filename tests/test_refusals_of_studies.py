"""Good blocks that cannot go together, and searches, claims, scales and overrides that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.study_files import GOOD, OPTIM, dino, method, refusal, searched, swapped

COMBINATIONS = {  # section 4.4
    "50 queue": (
        method("{name: moco_v2, queue: 65}"),
        "f.yaml:6:36: method.queue: must be a multiple of budget.batch 32, not 65",
    ),
    "50 queue above the set": (
        method("{name: moco_v2, queue: 3200}"),
        "3200 keys are more than the 1442 training pictures",
    ),
    "53 patch": (
        swapped("{name: resnet_tiny}", "{name: swin_tiny, image_size: 17}").replace(
            "size: 16, flip", "size: 17, flip"
        ),
        "views.size: must be a multiple of swin_tiny's patch of 2 px, not 17; nearest 16, 18",
    ),
    "53 windows": (
        swapped("{name: resnet_tiny}", "{name: swin_tiny}"),
        "backbone.image_size: lays windows out for 32 px, but views.size is 16",
    ),
    "54 stride": (
        swapped("{name: resnet_tiny}", "{name: resnet18}"),
        "views.size: 16 px are fewer than the 32 px of one place of resnet18's map",
    ),
    "54 local stride": (
        dino()
        .replace("{name: resnet_tiny}", "{name: resnet18, stem: small}")
        .replace("local_size: 8", "local_size: 12"),
        "",
    ),
    "54 small local crop": (
        dino(views="size: 32, local_crops: 2, local_size: 24").replace(
            "{name: resnet_tiny}", "{name: resnet18}"
        ),
        "views.local_size: 24 px are fewer than the 32 px",
    ),
    "54 local above the large": (dino(views="size: 16, local_size: 32"), "local_size 32 is above size 16"),
    "57 warm-up": (
        swapped("lr: 0.1", "lr: 0.1, warmup: 20"),
        "f.yaml:8:42: optim.warmup: 20 epochs are more than budget.epochs 12",
    ),
    "57 default warm-up": (
        swapped(OPTIM, "  optim: {name: lars}").replace("epochs: 12", "epochs: 5"),
        "optim.warmup: 10 epochs, lars's default, are more than budget.epochs 5",
    ),
    "57 milestones": (
        swapped("lr: 0.1", "lr: 0.1, schedule: step, milestones: [5, 12]"),
        "epoch 12 is never reached: budget.epochs is 12",
    ),
    "57 milestones alone": (
        swapped("lr: 0.1", "lr: 0.1, milestones: [5]"),
        "schedule cosine_epoch does not go with milestones [5]",
    ),
    "57 regions": (
        dino(", matching: geometric, region_from_epoch: 12"),
        "method.region_from_epoch: 12 is never reached",
    ),
    "63 window of a ResNet": (
        swapped("{name: resnet_tiny}", "{name: resnet_tiny, window: 7}"),
        "backbone.window: unknown key; known here: blocks, name, width",
    ),
    "64 local crops": (
        swapped("size: 16", "size: 16, local_crops: 2"),
        "local_crops 2 needs recipe dino, but name is byol",
    ),
    "64 views": (
        swapped("size: 16", "size: 16, count: 3"),
        "views.count: lewel_b takes exactly 2 views, not 3",
    ),
    "64 multi-crop recipe": (
        swapped("size: 16", "name: dino, size: 16"),
        "lewel_b takes exactly 2 views, not 10",
    ),
    "64 dino without pairs": (
        dino(", globals: 3"),
        "dino with method.globals 3 needs more than 2 large views",
    ),
    "64 montages": (method("{name: mcl, levels: 3}"), "mcl with method.levels 3 takes 6 views, not 8"),
    "65 queue of BYOL": (
        method("{name: byol, queue: 64}"),
        "method.queue: unknown key; known here: batch_norm, devices",
    ),
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
    "69 accumulate": (
        swapped("batch: 32", "batch: 32, accumulate: 3"),
        "f.yaml:9:49: budget.accumulate: must divide budget.batch 32, not 3",
    ),
    "69 devices": (
        method("{name: byol, batch_norm: per_device, devices: 5}"),
        "method.devices: must divide the 32 pictures of a pass",
    ),
    "70 neighbours": (
        swapped("[knn, linear]", "[{name: knn, k: 2000}]"),
        "evaluate.0.k: 2000 neighbours are more than the 1442 training pictures",
    ),
    "70 neighbours 0": (swapped("[knn, linear]", "[{name: knn, k: 0}]"), "at least 1 neighbour must vote"),
    "71 classes": (
        method("{name: supervised, classes: 1000}"),
        "method.classes: must be the 10 classes of digits, not 1000",
    ),
    "96 batch above the set": (
        swapped("batch: 32", "batch: 2048"),
        "budget.batch: 2048 is more than the 1442 training pictures of digits",
    ),
    "96 batch above the part": (
        swapped("{name: digits}", "{name: digits, fraction: 0.01}"),
        "budget.batch: 32 is more than the 14 training pictures of 0.01 of digits",
    ),
    "several classes a picture": (
        swapped("[knn, linear]", "[knn, {name: knn, data: {name: voc2007_classification}}]"),
        "evaluate.1: knn needs one class a picture, of which voc2007_classification has several",
    ),
    "label twice": (
        swapped("[knn, linear]", "[knn, knn]"),
        "evaluate.1: 'knn' stands twice; give one of them another `label`",
    ),
}
COMBINATIONS.pop("54 local stride")


@pytest.mark.parametrize("case", COMBINATIONS)
def test_combinations(case: str, tmp_path: Path) -> None:
    text, message = COMBINATIONS[case]
    assert message in refusal(text, tmp_path)


SEARCH = {  # section 4.5, and the schedulers and metrics of 4.4
    "72 grace": (GOOD + "scheduler: {name: asha, grace: 50}\n", "scheduler.grace: must be below 1, not 50"),
    "73 metric of the loss": (
        searched("optim.lr: {log: [0.1, 1]}", "scheduler: {name: asha, metric: loss}\n"),
        "scheduler.metric: 'loss' must look like knn.top1",
    ),
    "74 metric": (
        searched("optim.lr: {log: [0.1, 1]}", "objective: {metric: kn.top1}\n"),
        "objective.metric: there is no evaluation 'kn' in `evaluate`; it has knn, linear. Did you mean",
    ),
    "74 default metric": (
        swapped("[knn, linear]", "[linear]", searched("optim.lr: {log: [0.1, 1]}")),
        "objective.metric: there is no evaluation 'knn' in `evaluate`; it has linear",
    ),
    "74 shown metric": (GOOD + "metrics: [lineer.top1]\n", "metrics.0: there is no evaluation 'lineer'"),
    "75 goal": (
        GOOD + "objective: {metric: knn.top1, goal: maximum}\n",
        "objective.goal: 'maximum' is not known; choose from max, min. Did you mean 'max'?",
    ),
    "79 log from 0": (
        searched("optim.lr: {log: [0, 1]}"),
        "f.yaml:18:3: search.optim.lr: log needs numbers above 0, not [0, 1]",
    ),
    "80 turned round": (searched("optim.lr: {uniform: [1, 0.1]}"), "low must be below high, not [1, 0.1]"),
    "81 no choices": (searched("optim.lr: {choice: []}"), "choice needs a list, not []"),
    "81 empty grid": (
        swapped("[1, 2, 4]", "[]"),
        "f.yaml:12:3: grid.method.groups: must be a list of values, like [1, 2], not []",
    ),
    "82 whole numbers": (searched("budget.epochs: {int: [1.5, 3]}"), "int needs whole numbers, not [1.5, 3]"),
    "83 three numbers": (
        searched("optim.lr: {uniform: [0, 1, 3]}"),
        "uniform needs two numbers, [low, high], not [0, 1, 3]",
    ),
    "84 kind": (
        searched("optim.lr: {logg: [0.1, 1]}"),
        "unknown kind; known: log, uniform, int, choice. Did you mean 'log'?",
    ),
    "84 not a kind": (searched("optim.lr: [0.1, 1]"), "must be one of {log: [low, high]}"),
    "85 grid and search": (
        searched("method.groups: {choice: [1, 2]}"),
        "is in the grid and in the search; keep one",
    ),
    "86 key": (searched("optim.lrr: {log: [0.1, 1]}"), "search.optim.lrr: optim has no key 'lrr'; it has"),
    "86 nearest key": (swapped("method.groups", "method.group"), "Did you mean 'groups'?"),
    "86 block": (
        swapped("method.groups", "metod.groups"),
        "grid.metod.groups: must begin with one of data, backbone, method",
    ),
    "86 seeds": (
        swapped("  method.groups: [1, 2, 4]", "  seed: [1, 2]"),
        "seeds are not an axis; use the key `seeds`",
    ),
    "86 below a number": (
        searched("optim.lr.deep: {log: [0.1, 1]}"),
        "search.optim.lr.deep: optim.lr is a single value; it has no key 'deep'",
    ),
    "87 sampler": (
        GOOD + "sampler: {name: bayes}\n",
        "sampler.name: 'bayes' is not known; choose from tpe, random",
    ),
    "88 grid": (
        swapped(
            "  method.groups: [1, 2, 4]",
            "\n".join(
                f"  optim.{k}: [{', '.join(str(0.1 + 0.001 * i) for i in range(101))}]"
                for k in ("lr", "weight_decay", "momentum")
            ),
        ),
        "grid: makes 1,030,301 cells; at most 5,000 are allowed",
    ),
    "89 trials": (GOOD + "sampler: {trials: 0}\n", "sampler.trials: must be at least 1, not 0"),
    "89 budget": (GOOD + "budget: {trials: 0}\n", "budget.trials: must be at least 1, not 0"),
    "90 nothing left": (GOOD + "where: ['method.dim > 1000']\n", "where: excludes every one of the 4 cells"),
    "value twice": (
        swapped("[1, 2, 4]", "[1, 2, 2]"),
        "grid.method.groups: a value stands twice in [1, 2, 2]",
    ),
    "where as code": (
        GOOD + "where: ['__import__(\"os\")']\n",
        "call is not allowed; only arithmetic and comparisons are",
    ),
    "where with a power": (
        GOOD + "where: ['9**9**9 > 1']\n",
        "is not allowed; only arithmetic and comparisons are",
    ),
    "where unfinished": (
        GOOD + "where: ['method.dim %']\n",
        "f.yaml:17:9: where.0: 'method.dim %' is not an expression",
    ),
    "where unknown key": (GOOD + "where: ['method.grops > 1']\n", "there is no key method.grops"),
    "where divided by 0": (GOOD + "where: ['method.dim % 0 == 0']\n", "cannot be computed"),
    "where long": (GOOD + "where: ['" + "1 + " * 200 + "1 > 0']\n", "is longer than 500 characters"),
    "where text": (
        GOOD + "where: method.dim > 3\n",
        "where: must be a list, like [a, b], not the text 'method.dim > 3'",
    ),
    "baseline": (
        swapped("baseline: byol", "baseline: byoll"),
        "f.yaml:15:11: baseline: there is no arm 'byoll'; there are byol, groups=1",
    ),
    "claim": (
        GOOD + "claims: [{say: s, a: {method.groups: 8}, b: {arm: byol}, metric: knn.top1, expect: a > b}]\n",
        "claims.0.a: no arm has {'method.groups': 8}; there are byol, groups=1",
    ),
    "claim of equality": (
        GOOD + "claims: [{say: s, a: {method.groups: 4}, b: {arm: byol}, metric: knn.top1, expect: a = b}]\n",
        "claims.0: expect: a = b needs a `margin`",
    ),
    "claim without a side": (
        GOOD + "claims: [{say: s, metric: knn.top1, expect: a > b}]\n",
        "claims.0.a: is missing",
    ),
    "arm not a block": (
        swapped("  byol: {method: {name: byol, dim: 64, hidden: 128}}", "  byol: 3"),
        "arms.byol: must be a block of keys",
    ),
    "key of an arm": (
        swapped("byol: {method:", "byol: {metod:"),
        "arms.byol.metod: unknown key; known here: data",
    ),
    "value of an arm": (
        swapped("name: byol, dim: 64", "name: byol, dim: none"),
        "f.yaml:14:36: method.dim: must be a whole number",
    ),
    "CMA-ES with two objectives": (
        searched(
            "optim.lr: {log: [0.1, 1]}",
            "sampler: {name: cmaes}\nobjective: [{metric: knn.top1}, {metric: linear.top1}]\n",
        ),
        "sampler: cmaes takes one objective",
    ),
    "scale": (
        GOOD + "scales: {lapotp: {}}\n",
        "scales.lapotp: unknown scale; known: laptop, gpu, paper. Did you mean 'laptop'?",
    ),
    "key of a scale": (
        GOOD + "scales: {laptop: {study: other}}\n",
        "scales.laptop.study: cannot stand in a scale",
    ),
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
