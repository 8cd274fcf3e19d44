"""From a study file to its trials: cells, arms, conditional axes, constraints, scales, includes."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.mistake import Mistakes
from study.space import Space
from study.studyfile import load, scales_of
from tests.study_files import ALONE, GOOD, GRID, METHOD, swapped


def space(text: str, folder: Path, scale: str = "laptop", overrides: tuple[str, ...] = ()) -> Space:
    path = folder / "f.yaml"
    path.write_text(text)
    return Space(load(path, scale, overrides))


def refused(text: str, folder: Path, **how: object) -> str:
    with pytest.raises(Mistakes) as caught:
        space(text, folder, **how)  # type: ignore[arg-type]
    return str(caught.value)


def labels(made: Space) -> list[str]:
    return [cell.label for cell in made.cells]


BOTH = swapped(METHOD, "  method:   {name: byol, dim: 64, hidden: 128}")


def grid(*lines: str, text: str = BOTH) -> str:
    """The file with these axes alone."""
    text = text.replace("arms:\n  byol: {method: {name: byol, dim: 64, hidden: 128}}\n", "")
    return text.replace(GRID, "grid:\n" + "".join(f"  {line}\n" for line in lines)).replace(
        "baseline: byol\n", ""
    )


def test_arms_stand_beside_the_grid_and_share_their_seeds(tmp_path: Path) -> None:
    made = space(GOOD, tmp_path)
    assert labels(made) == ["byol", "groups=1", "groups=2", "groups=4"]
    trials = list(made.fixed())
    assert len(trials) == made.count() == 12
    assert len({t.id for t in trials}) == 12
    assert [(t.arm, t.spec.seed) for t in trials[:5]] == [
        ("byol", 0), ("groups=1", 0), ("groups=2", 0), ("groups=4", 0), ("byol", 1),
    ]  # fmt: skip
    byol = trials[0].spec
    assert byol.method.name == "byol"
    assert byol.optim == trials[1].spec.optim  # what an arm does not name is the base's
    assert dict(trials[0].axes) == {"arm": "byol"}
    assert dict(trials[3].axes) == {"method.groups": 4}


def test_a_study_of_one_trial_has_the_studys_name_as_its_arm(tmp_path: Path) -> None:
    text = ALONE.replace("arms:\n  byol: {method: {name: byol, dim: 64, hidden: 128}}\n", "")
    assert labels(space(text, tmp_path)) == ["small"]


def test_an_axis_that_one_method_has_is_conditional(tmp_path: Path) -> None:
    made = space(
        grid("method.name: [byol, lewel_b]", "method.groups: [1, 2]", "optim.lr: [0.1, 0.2]"), tmp_path
    )
    assert labels(made) == [
        "method.name=byol, lr=0.1",
        "method.name=byol, lr=0.2",
        "method.name=lewel_b, groups=1, lr=0.1",
        "method.name=lewel_b, groups=1, lr=0.2",
        "method.name=lewel_b, groups=2, lr=0.1",
        "method.name=lewel_b, groups=2, lr=0.2",
    ]
    assert len({t.id for t in made.fixed()}) == 18


def test_a_sampled_axis_that_one_method_has_is_conditional(tmp_path: Path) -> None:
    made = space(GOOD + "search: {method.weight: {uniform: [0.1, 0.9]}}\nsampler: {trials: 5}\n", tmp_path)
    assert {c.label: [d.key for d in made.dimensions_of(c)] for c in made.cells} == {
        "byol": [],
        "groups=1": ["method.weight"],
        "groups=2": ["method.weight"],
        "groups=4": ["method.weight"],
    }
    assert [t.arm for t in made.fixed()] == ["byol"] * 3
    assert made.count() == 3 + 3 * 5 * 3
    trial = made.trial(made.cells[1], {"method.weight": 0.25}, 2, 4)
    assert (trial.spec.method.weight, trial.spec.seed, trial.point_index) == (0.25, 2, 4)
    assert dict(trial.axes) == {"method.groups": 1, "method.weight": 0.25}


def test_whole_blocks_are_values_of_an_axis(tmp_path: Path) -> None:
    made = space(grid("optim: [{name: sgd, lr: 0.1}, {name: lars, lr: 1.0, warmup: 2}]"), tmp_path)
    assert labels(made) == ["optim=sgd(lr: 0.1)", "optim=lars(lr: 1.0, warmup: 2)"]
    first, second = (made.trial(cell, {}, 0).spec.optim for cell in made.cells)
    assert (first.name, second.name, second.warmup) == ("sgd", "lars", 2)
    assert first.weight_decay == 1e-4  # the base's, whose name is the same
    assert second.weight_decay == 1e-6  # of another name: its own default


def test_labels_of_axes_that_end_alike_are_whole(tmp_path: Path) -> None:
    made = space(
        grid("method.dim: [32, 64]", "backbone.name: [resnet_tiny]", "data.name: [digits]"), tmp_path
    )
    assert labels(made) == [f"dim={d}, backbone.name=resnet_tiny, data.name=digits" for d in (32, 64)]


def test_where_excludes_cells_and_says_by_what(tmp_path: Path) -> None:
    text = swapped("[1, 2, 4]", "[1, 2, 3, 4, 5]") + "where: ['method.dim % method.groups == 0']\n"
    made = space(text, tmp_path)
    assert labels(made) == [
        "byol",
        "groups=1",
        "groups=2",
        "groups=4",
    ]  # no groups in byol: nothing is said of it
    assert [(e.label, e.by) for e in made.excluded] == [
        ("groups=3", "method.dim % method.groups == 0"),
        ("groups=5", "method.dim % method.groups == 0"),
    ]


def test_where_sees_defaults(tmp_path: Path) -> None:
    made = space(
        GOOD + "where: ['optim.momentum == 0.9 and data.fraction == 1 and budget.precision == \"fp32\"']\n",
        tmp_path,
    )
    assert len(made.cells) == 4


def test_where_over_sampled_axes_takes_no_cell_out(tmp_path: Path) -> None:
    made = space(GOOD + "search: {optim.lr: {log: [0.01, 1]}}\nwhere: ['optim.lr < 0.05']\n", tmp_path)
    assert len(made.cells) == 4
    assert not made.excluded


@pytest.mark.parametrize(
    ("axis", "middle"),
    [("{log: [0.01, 1]}", 0.1), ("{uniform: [0.2, 0.4]}", 0.3), ("{choice: [0.5, 0.7]}", 0.5)],
)
def test_the_middle_of_an_axis_is_inside(axis: str, middle: float, tmp_path: Path) -> None:
    made = space(GOOD + f"search: {{optim.lr: {axis}}}\n", tmp_path)
    assert made.dimensions[0].middle == pytest.approx(middle)


def test_the_id_is_of_what_changes_the_weights(tmp_path: Path) -> None:
    def first(text: str) -> str:
        return next(space(text, tmp_path).fixed()).id

    same = first(GOOD)
    assert first(swapped("study: small", "study: other")) == same
    assert first(swapped("[knn, linear]", "[knn]")) == same  # evaluations can be added later
    assert first(swapped("lr: 0.1", "lr: 0.10")) == same
    cifar = [
        first(swapped("{name: digits}", f"{{name: cifar10{more}}}")) for more in ("", ", download: true")
    ]
    assert cifar[0] == cifar[1] != same  # whether a set may be fetched changes none of its pictures
    assert (
        first(swapped("weight_decay: 1e-4", "weight_decay: 1e-4, momentum: 0.9")) == same
    )  # the default, written out
    assert first(swapped("lr: 0.1", "lr: 0.11")) != same
    assert first(swapped("epochs: 12", "epochs: 13")) != same
    assert first(swapped("seeds: 3", "seeds: [1]")) != same


def test_seeds_as_a_number_or_by_name(tmp_path: Path) -> None:
    assert space(swapped("seeds: 3", "seeds: 2"), tmp_path).seeds == (0, 1)
    assert space(swapped("seeds: 3", "seeds: [7, 3]"), tmp_path).seeds == (7, 3)


SCALED = (
    GOOD
    + """\
scales:
  laptop: {}
  gpu:
    base: {backbone: {name: resnet18, stem: small}, views: {size: 32}, budget: {batch: 64}}
    seeds: 5
    grid: {method.groups: [1, 8]}
"""
)


def test_scales_change_what_they_name(tmp_path: Path) -> None:
    laptop = space(SCALED, tmp_path)
    assert [t.id for t in laptop.fixed()] == [t.id for t in space(GOOD, tmp_path).fixed()]
    gpu = space(SCALED, tmp_path, "gpu")
    assert labels(gpu) == ["byol", "groups=1", "groups=8"]
    spec = next(gpu.fixed()).spec
    assert (len(gpu.seeds), spec.backbone.name, spec.views.size) == (5, "resnet18", 32)
    assert (spec.budget.batch, spec.budget.epochs) == (64, 12)
    assert scales_of(tmp_path / "f.yaml") == ["laptop", "gpu"]


def test_a_scale_that_the_file_does_not_have(tmp_path: Path) -> None:
    assert "has no scale 'paper'; it has laptop, gpu" in refused(SCALED, tmp_path, scale="paper")
    assert "has no scale 'gpu'" in refused(GOOD, tmp_path, scale="gpu")


def test_overrides_are_as_if_the_file_said_so(tmp_path: Path) -> None:
    made = space(
        GOOD,
        tmp_path,
        overrides=("optim.lr=1e-3", "seeds=2", "budget.epochs=3", "study=other", "budget.hours=2"),
    )
    spec = next(made.fixed()).spec
    assert (spec.optim.lr, spec.budget.epochs, len(made.seeds), made.settings.study) == (1e-3, 3, 2, "other")
    assert made.settings.budget.hours == 2
    assert labels(space(GOOD, tmp_path, overrides=("grid.method.groups=[8, 16]",))) == [
        "byol",
        "groups=8",
        "groups=16",
    ]


def test_overrides_reach_every_scale(tmp_path: Path) -> None:
    assert next(space(SCALED, tmp_path, "gpu", ("budget.batch=128",)).fixed()).spec.budget.batch == 128


def test_an_included_file_lies_under_the_file(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "base.yaml").write_text(SCALED)
    text = "study: two\nquestion: q\ninclude: shared/base.yaml\nbase: {optim: {lr: 0.5}}\nseeds: 2\narms: {one: {}}\n"
    made = space(text, tmp_path)
    spec = next(made.fixed()).spec
    assert (spec.optim.lr, spec.optim.weight_decay, spec.method.name) == (0.5, 1e-4, "lewel_b")
    assert labels(made) == [
        "one"
    ]  # base, scales and evaluate are shared; of the axes none, as the file has its own
    assert len(spec.evaluate) == 2
    gpu = space(text, tmp_path, "gpu")
    assert next(gpu.fixed()).spec.backbone.name == "resnet18"
    assert len(gpu.seeds) == 2  # of a scale, too, only the base is shared


def test_a_file_without_axes_asks_of_the_trials_of_the_file_that_it_includes(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(SCALED)
    first = space(SCALED, tmp_path)
    text = "study: two\nquestion: q\ninclude: first.yaml\nevaluate: [logistic]\n"
    made = space(text + "where: [\"method.name == 'byol' or method.groups > 1\"]\n", tmp_path)
    assert labels(made) == ["byol", "groups=2", "groups=4"]
    assert made.settings.baseline == "byol"
    assert [e.name for e in next(made.fixed()).spec.evaluate] == ["logistic"]
    assert {t.id for t in made.fixed()} < {t.id for t in first.fixed()}
    scaled = space(text, tmp_path, "gpu")
    assert [e.name for e in next(scaled.fixed()).spec.evaluate] == ["logistic"]
    assert labels(scaled) == labels(space(SCALED, tmp_path, "gpu"))


def test_a_mistake_in_an_included_file_is_told_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(swapped("lr: 0.1", "lr: fast"))
    found = refused("study: two\nquestion: q\ninclude: base.yaml\n", tmp_path)
    assert "base.yaml:8:29: optim.lr: must be a number" in found


def test_includes_that_cannot_be(tmp_path: Path) -> None:
    head = "study: two\nquestion: q\n"
    (tmp_path / "base.yaml").write_text("include: f.yaml\n")
    assert "includes itself" in refused(head + "include: base.yaml\n", tmp_path)
    found = refused(head + "include: bse.yaml\n", tmp_path)
    assert "f.yaml:3:10: include: there is no file bse.yaml beside f.yaml. Did you mean 'base.yaml'?" in found
    assert "must be the path of a study file" in refused(head + "include: 3\n", tmp_path)


def test_several_includes_the_first_wins(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: {optim: {lr: 0.7}}\n")
    (tmp_path / "b.yaml").write_text(GOOD)
    spec = next(space("study: t\nquestion: q\ninclude: [a.yaml, b.yaml]\n", tmp_path).fixed()).spec
    assert spec.optim.lr == 0.7


def test_views_that_a_file_does_not_name_suit_the_set(tmp_path: Path) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith("  views:")) + "\n"
    assert {trial.spec.views.size for trial in space(text, tmp_path).fixed()} == {16}
    real = text.replace("name: digits", "name: cifar10").replace("resnet_tiny", "resnet18, stem: small")
    assert {trial.spec.views.size for trial in space(real, tmp_path).fixed()} == {32}


def test_chance_is_told_where_the_classes_are_known(tmp_path: Path) -> None:
    made = space(GOOD, tmp_path).chance()
    assert made["byol"]["knn.top1"] == 10.0
    assert made["groups=4"]["linear.top5"] == 50.0
    other = swapped("evaluate: [knn, linear]", "evaluate: [knn, {name: linear, data: {name: cifar100}}]")
    assert space(other, tmp_path).chance()["byol"]["linear_cifar100.top1"] == 1.0
