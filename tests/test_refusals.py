"""Bad files: each is refused in one plain line, at its place, with what is allowed; never by a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.mistake import Mistakes
from study.space import Space
from study.studyfile import load
from tests.study_files import BUDGET, GOOD, METHOD, OPTIM, VIEWS, dino, method, refusal, swapped


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
    "8 two documents": (
        GOOD + "---\nstudy: b\n",
        "f.yaml:17:1: a second document begins here; one study a file",
    ),
    "9 duplicate": (
        swapped("lr: 0.1", "lr: 0.1, lr: 0.2"),
        "f.yaml:8:34: base.optim.lr: the key stands twice (first in line 8)",
    ),
    "10 tag": (
        swapped("seeds: 3", "seeds: !!python/object:os.system 3"),
        "f.yaml:16:8: seeds: tags are not allowed",
    ),
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
    "13 large": (
        "study: " + "x" * 1_100_000,
        "f.yaml: is 1,100,007 bytes long; a study file has at most 1,000,000",
    ),
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
    with pytest.raises(
        Mistakes, match=r"grops\.yaml: cannot be read: No such file.*Did you mean 'groups\.yaml'\?"
    ):
        load(tmp_path / "grops.yaml")
    with pytest.raises(Mistakes, match="Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize("text", [b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("\n", "\r\n").encode()])
def test_a_byte_order_mark_and_windows_lines_are_read(text: bytes, tmp_path: Path) -> None:
    assert refusal(text, tmp_path) == ""


VALUES = {  # sections 4.2 and 4.3: types, names, ranges
    "20 number in quotes": (
        swapped("lr: 0.1", 'lr: "0.1"'),
        "f.yaml:8:29: optim.lr: must be a number, not the text '0.1'",
    ),
    "19 number with exponent in quotes": (
        swapped("lr: 0.1", "lr: '1e-3'"),
        "must be a number, not the text '1e-3'",
    ),
    "21 half an epoch": (
        swapped("epochs: 12", "epochs: 10.5"),
        "budget.epochs: must be a whole number, not 10.5",
    ),
    "23 true epochs": (
        swapped("epochs: 12", "epochs: true"),
        "budget.epochs: must be a whole number, not true",
    ),
    "24 octal": (swapped("seeds: 3", "seeds: 010"), "f.yaml:16:8: seeds: '010' would be read as octal"),
    "24 hexadecimal": (swapped("seeds: 3", "seeds: 0x10"), "'0x10' would be read as octal or hexadecimal"),
    "25 base 60": (swapped("epochs: 12", "epochs: 1:30"), "'1:30' would be read as base 60"),
    "26 no": (swapped("flip: 0.0", "flip: no"), "'no' is ambiguous in YAML; write true or false"),
    "27 nan": (swapped("lr: 0.1", "lr: .nan"), "base.optim.lr: '.nan' is not a finite number"),
    "27 nan in words": (swapped("lr: 0.1", "lr: nan"), "must be a number, not the text 'nan'"),
    "27 inf": (swapped("lr: 0.1", "lr: -.inf"), "'-.inf' is not a finite number"),
    "28 nothing": (swapped("lr: 0.1", "lr: "), "optim.lr: must be a number, not null"),
    "29 list for a name": (
        swapped(METHOD, "  method:   [byol]"),
        "base.method: must be a block of keys with a `name`",
    ),
    "29 word for a block": (
        swapped(METHOD, "  method: byol"),
        "base.method: must be a block of keys with a `name`",
    ),
    "30 text for a list": (
        swapped("size: 16", "scale: 0.2-1"),
        "views.scale: must be a list, like [a, b], not the text '0.2-1'",
    ),
    "31 date": (swapped("study: small", "study: 2024-01-01"), ""),
    "32 text for a number": (
        swapped("batch: 32", "batch: all"),
        "must be a whole number, not the text 'all'",
    ),
    "33 large number": (swapped("batch: 32", "batch: 99999999999999999999"), "is too large a number"),
    "33 large power": (swapped("lr: 0.1", "lr: 1e999"), "'1e999' is too large a number"),
    "34 number for text": (
        swapped("study: small", "study: 1.10"),
        "f.yaml:1:8: study: must be text, not 1.1",
    ),
    "35 key": (swapped("seeds: 3", "seed: 3"), "f.yaml:16:1: seed: unknown key; known here: study, question"),
    "35 nearest key": (swapped("baseline:", "basline:"), "Did you mean 'baseline'?"),
    "35 block": (
        swapped("  method: ", "  metod: "),
        "base.metod: unknown key; known here: data, backbone, method",
    ),
    "35 key of a block": (swapped("flip: 0.0", "flipp: 0.0"), "views.flipp: unknown key; known here:"),
    "35 nearest key of a block": (swapped("flip: 0.0", "flipp: 0.0"), "Did you mean 'flip'?"),
    "36 method": (
        swapped("name: lewel_b", "name: lewel_c"),
        "method.name: 'lewel_c' is not known; choose from byol,",
    ),
    "36 nearest method": (swapped("name: lewel_b", "name: lewelb"), "Did you mean 'lewel_b'?"),
    "37 backbone": (
        swapped("resnet_tiny", "swin_huge"),
        "backbone.name: 'swin_huge' is not known; choose from",
    ),
    "38 optimizer": (
        swapped("name: sgd", "name: adamq"),
        "'adamq' is not known; choose from sgd, lars, adamw. Did you mean 'adamw'?",
    ),
    "36 data": (swapped("name: digits", "name: digit"), "data.name: 'digit' is not known; choose from"),
    "36 evaluation": (swapped("[knn, linear]", "[knn, linaer]"), "'linaer' is not known; choose from"),
    "39 path as a name": (
        swapped("study: small", "study: ../../etc"),
        "study: '../../etc' is not allowed here (letters, digits",
    ),
    "39 spaces": (swapped("study: small", "study: a b"), "study: 'a b' is not allowed here"),
    "39 long": (swapped("study: small", "study: " + "a" * 200), "study: is longer than 80 characters"),
    "40 dash first": (swapped("study: small", "study: -x"), "study: '-x' is not allowed here"),
    "40 device name": (swapped("study: small", "study: CON"), "study: 'CON' is a reserved name"),
    "41 lr 0": (swapped("lr: 0.1", "lr: 0"), "optim.lr: must be above 0, not 0"),
    "41 lr negative": (swapped("lr: 0.1", "lr: -0.1"), "must be above 0, not -0.1"),
    "43 weight decay": (swapped("weight_decay: 1e-4", "weight_decay: -1"), "must be at least 0, not -1"),
    "44 batch 0": (swapped("batch: 32", "batch: 0"), "budget.batch: must be at least 1, not 0"),
    "45 batch 1": (
        swapped("batch: 32", "batch: 1"),
        "budget.batch: must be at least 2 (batch statistics need two pictures), not 1",
    ),
    "45 one picture a pass": (
        swapped("batch: 32", "batch: 32, accumulate: 32"),
        "32 leaves 1 picture a pass of budget.batch 32",
    ),
    "46 epochs 0": (swapped("epochs: 12", "epochs: 0"), "must be at least 1, not 0"),
    "47 momentum": (method("{name: byol, momentum: 1.2}"), "method.momentum: must be at most 1, not 1.2"),
    "48 temperature": (
        method("{name: moco_v2, queue: 64, temperature: 0}"),
        "method.temperature: must be above 0, not 0",
    ),
    "51 scale turned round": (swapped("flip: 0.0", "scale: [0.5, 0.1]"), "scale runs from 0.5 down to 0.1"),
    "52 scale beyond the picture": (swapped("flip: 0.0", "scale: [0.1, 2]"), "must be at most 1, not 2"),
    "52 scale 0": (swapped("flip: 0.0", "scale: [0, 1]"), "must be above 0, not 0"),
    "52 three numbers": (swapped("flip: 0.0", "scale: [0.1, 0.2, 0.3]"), "views.scale"),
    "55 drop path": (
        swapped("{name: resnet_tiny}", "{name: swin_tiny, image_size: 16, drop_path: 1.0}"),
        "must be below 1, not 1",
    ),
    "56 probability": (swapped("flip: 0.0", "blur: 1.5"), "views.blur: must be at most 1, not 1.5"),
    "58 out_dim": (
        dino().replace("out_dim: 64", "out_dim: -1"),
        "method.out_dim: must be at least 2, not -1",
    ),
    "61 precision": (
        swapped("batch: 32", "batch: 32, precision: fp8"),
        "'fp8' is not known; choose from fp32, bf16, fp16",
    ),
    "62 seed": (swapped("seeds: 3", "seeds: [-1, 2]"), "seeds: a seed must be from 0 to 2147483647"),
    "62 no seeds": (swapped("seeds: 3", "seeds: 0"), "seeds: must be 1 to 1000 seeds, not 0"),
    "62 seed twice": (swapped("seeds: 3", "seeds: [1, 1]"), "seeds: a seed stands twice in [1, 1]"),
    "62 seeds in words": (
        swapped("seeds: 3", "seeds: three"),
        "f.yaml:16:8: seeds: must be a whole number or a list, like [a, b], not the text 'three'",
    ),
    "question missing": (swapped("question: Does it refuse what it should?\n", ""), "question: is missing"),
    "base missing": (GOOD.partition("base:")[0], "base: is missing"),
    "block missing": (swapped(OPTIM + "\n", ""), "optim: is missing"),
    "seed in base": (
        swapped(BUDGET, BUDGET + "\n  seed: 3"),
        "base.seed: unknown key; known here: the study's own top level",
    ),
}
VALUES.pop("31 date")  # a study may be called by a date: it is text here


@pytest.mark.parametrize("case", VALUES)
def test_values(case: str, tmp_path: Path) -> None:
    text, message = VALUES[case]
    assert message in refusal(text, tmp_path)


def test_a_name_that_looks_like_a_date_and_a_number_with_an_exponent_are_what_they_say(
    tmp_path: Path,
) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(swapped("study: small", "study: 2024-01-01").replace("lr: 0.1", "lr: 1e-3"))
    space = Space(load(path))
    assert space.settings.study == "2024-01-01"
    assert next(space.fixed()).spec.optim.lr == 0.001


def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    text = (
        GOOD.replace("lr: 0.1", "lr: fast")
        .replace("epochs: 12", "epochs: -1")
        .replace("seeds: 3", "seeds: x")
    )
    text = (
        text.replace("name: digits", "name: digit")
        .replace("flip: 0.0", "flpi: 0.0")
        .replace("baseline", "bsaeline")
    )
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
