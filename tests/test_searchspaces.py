"""Every study file of the product: good at three scales, quick to plan, true to the papers it quotes."""

from __future__ import annotations

import re
import time
from functools import cache
from pathlib import Path

import pytest

from study import published
from study.space import Space
from study.studyfile import SCALES, load, scales_of

FILES = sorted((Path(__file__).parent.parent / "searchspaces").glob("*.yaml"))
EMBEDDED = {"digits", "digits_scenes"}
AT_HAND = {"laptop": EMBEDDED, "gpu": EMBEDDED | {"cifar10", "cifar100"}}
# `LEWEL Tab7, 83.3 against 81.0`: where the paper prints two numbers, the left arm's first.
QUOTED = re.compile(r"(LEWEL|EsViT|GLSD|MCL) (Tab\d+|text [^,]+),.*?([\d.]*\d) against ([\d.]*\d)")


@cache
def expanded(path: Path, scale: str = "laptop") -> Space:
    return Space(load(path, scale))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
@pytest.mark.parametrize("scale", SCALES)
def test_a_study_file(path: Path, scale: str) -> None:
    began = time.process_time()
    space = expanded(path, scale)
    trials = list(space.fixed())
    assert time.process_time() - began < 5
    settings = space.settings
    assert settings.study == path.stem
    assert len({cell.label for cell in space.cells}) == len(space.cells)
    assert len({t.id for t in trials}) == len(trials)  # no arm is another one by another name
    assert space.sampled or len(space.cells) > 1
    sets = {d.name for t in trials for d in (t.spec.data, *(e.data for e in t.spec.evaluate)) if d}
    assert sets <= AT_HAND[scale] if scale in AT_HAND else not sets & EMBEDDED, sets
    seen = {e.label for t in trials for e in t.spec.evaluate} | {"trial"}
    for claim in settings.claims:  # that their arms exist is refused otherwise
        assert claim.metric.partition(".")[0] in seen
        assert claim.a != claim.b
        assert claim.source, claim.say


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_published_rows_that_are_named_exist(path: Path) -> None:
    settings = load(path).settings
    if settings.reproduces is None:
        return
    printed = published.rows(settings.reproduces.paper, settings.reproduces.table)
    assert printed, settings.reproduces
    labels = {cell.label for scale in SCALES for cell in expanded(path, scale).cells}
    for arm, said in settings.reproduces.rows.items():
        assert arm in labels, f"{arm} is none of {sorted(labels)}"
        assert any(said.items() <= {**row["setting"], "method": row["method"]}.items() for row in printed), (
            said
        )


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_numbers_that_are_quoted_stand_in_the_papers(path: Path) -> None:
    for scale in SCALES:
        for claim in load(path, scale).settings.claims:
            for paper, table, left, right in QUOTED.findall(claim.source or ""):
                values = {row["value"] for row in published.rows(paper, table)}
                assert {float(left), float(right)} <= values, (claim.source, scale)
                if claim.expect != "a = b":
                    assert (float(left) > float(right)) == (claim.expect == "a > b"), claim.source


def test_quotations_are_found() -> None:
    claims = [claim for path in FILES for claim in load(path).settings.claims]
    assert sum(bool(QUOTED.search(claim.source or "")) for claim in claims) > len(claims) / 2


def test_names_are_unique_and_every_file_has_every_scale() -> None:
    assert len({load(path).settings.study for path in FILES}) == len(FILES)
    for path in FILES:
        assert set(scales_of(path)) == set(SCALES), path


def test_experiments_that_share_trials_share_them() -> None:
    ids = {path.stem: {t.id for t in expanded(path).fixed()} for path in FILES}
    for first, second in (
        ("lewel_beta", "lewel_components"),
        ("lewel_channels", "lewel_components"),
        ("lewel_heads", "lewel_components"),
        ("lewel_linear", "lewel_components"),
        ("lewel_linear", "lewel_groups"),
        ("glsd_matching", "esvit_region_loss"),
        ("glsd_small_data", "glsd_matching"),
        ("esvit_region_design", "esvit_region_loss"),
        ("esvit_correspondence", "esvit_region_loss"),
        ("esvit_backbones", "esvit_region_loss"),
        ("esvit_continued", "esvit_region_loss"),
        ("esvit_contrast", "esvit_resnet"),
        ("esvit_detection", "esvit_region_loss"),
        ("esvit_pretraining_data", "esvit_region_loss"),
        ("mcl_linear", "mcl_levels"),
        ("mcl_weights", "mcl_levels"),
        ("mcl_retinanet", "mcl_linear"),
    ):
        assert ids[first] & ids[second], (first, second)
    for part in ("lewel_low_data", "lewel_cost", "lewel_voc", "lewel_coco", "lewel_alignment"):
        assert ids[part] < ids["lewel_linear"], part
    assert ids["mcl_cost"] < ids["mcl_levels"]
    assert ids["glsd_transfer"] == ids["glsd_matching"]
