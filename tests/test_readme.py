"""The README is true: its example is a study, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

from study.__main__ import VERBS
from study.space import Space
from study.studyfile import load, scales_of

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.S)


def test_the_example_is_a_study_at_every_scale(tmp_path: Path) -> None:
    example = blocks("yaml")[0]
    path = tmp_path / "example.yaml"
    path.write_text(example)
    for scale in scales_of(path):
        space = Space(load(path, scale, ()))
        assert space.count() == 4 * 20 * 3, "three groups and BYOL, 20 points each, 3 seeds"


def test_the_files_that_it_names_are_there() -> None:
    named = set(re.findall(r"`([\w/]+\.(?:py|yaml|md))`", TEXT)) | set(
        re.findall(r"searchspaces/\w+\.yaml", TEXT)
    )
    templates = {name for name in named if "mine" in name}
    places = {name for name in named - templates if "/" in name}
    assert len(places) > 5
    assert not [name for name in places if not (ROOT / name).exists()]


def test_the_verbs_that_it_names_are_the_verbs() -> None:
    told = re.search(r"lists the verbs: (.*?)\. Exit", TEXT, flags=re.S)
    assert told is not None
    assert set(re.findall(r"`(\w+)`", told.group(1))) == set(VERBS)
    used = {verb for block in blocks("sh") for verb in re.findall(r"python -m study (\w+)", block)}
    assert used <= set(VERBS)
