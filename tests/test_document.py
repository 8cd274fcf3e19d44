"""YAML as values that know where they stand: numbers as people write them, places, expressions."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.document import Block, Items, parse, place_of, plain
from study.expression import Absent, Expression, ExpressionError
from study.mistake import Mistakes, Place, nearest
from study.reading import shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E3", 1000.0),
        ("+1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_000", 1000),
        ("-3", -3),
        ("0", 0),
        ("-0.0", 0.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("2024-01-01", "2024-01-01"),
        ("'1e-6'", "1e-6"),
        ('"yes"', "yes"),
        ("y", "y"),
        ("1e-6x", "1e-6x"),
        ("1.2.3", "1.2.3"),
        ("a: b", {"a": "b"}),
        ("[1, [2.0, x]]", [1, [2.0, "x"]]),
    ],
)
def test_values_are_what_a_person_means(text: str, value: object) -> None:
    read = plain(parse(f"k:\n  {text}\n")["k"])
    assert read == value
    assert type(read) is type(value)


def test_every_value_knows_where_it_stands() -> None:
    block = parse("a: 1\nb:\n  c: [x, {d: 2}]\n", "f")
    top = Place("f", 1, 1)
    assert isinstance(block["b"], Block)
    assert isinstance(block["b"]["c"], Items)
    assert place_of(block, ("b",), top) == Place("f", 2, 1)
    assert place_of(block, ("b", "c"), top) == Place("f", 3, 3)
    assert place_of(block, ("b", "c", 1), top) == Place("f", 3, 10)
    assert place_of(block, ("b", "c", 1, "d"), top) == Place("f", 3, 11)
    assert place_of(block, ("b", "c", 1, "d"), top, whole=True) == Place("f", 3, 14)
    assert place_of(block, ("b", "missing"), top) == Place("f", 2, 1)
    assert place_of(block, ("missing",), top) == top


def test_anchors_are_read_and_their_blocks_are_separate() -> None:
    block = parse("a: &x {k: 1}\nb: *x\n")
    block["a"]["k"] = 2
    assert plain(block) == {"a": {"k": 2}, "b": {"k": 1}}


def test_all_traps_of_a_file_are_told_at_once() -> None:
    with pytest.raises(Mistakes) as caught:
        parse("a: 010\nb: 1:30\nc: yes\nd: .nan\nd: 1\n", "f")
    assert [(m.place.line, m.key) for m in caught.value.mistakes if m.place] == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
        (4, "d"),
        (5, "d"),
    ]


def test_records_of_mistakes_are_for_scripts() -> None:
    with pytest.raises(Mistakes) as caught:
        parse("a: 010\n", "f")
    record = caught.value.records()[0]
    assert (record["file"], record["line"], record["column"], record["key"]) == ("f", 1, 4, "a")
    assert record["message"] == f"f:1:4: a: {record['what']}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("method.dim % method.groups == 0", True),
        ("method.dim // 7 + 1 == 10", True),
        ("method.dim / 2 * 3 - 1 > -95", True),
        ("method.name == 'byol'", False),
        ("method.name in ['lewel_b', 'byol'] and not method.dim < 64", True),
        ("1 < method.groups <= 4", True),
        ("1 < method.groups < 4", False),
        ("method.flag == true or method.dim > 1000", True),
        ("method.name not in ['byol']", True),
    ],
)
def test_expressions(text: str, value: bool) -> None:
    assert Expression(text)({"method": {"name": "lewel_b", "dim": 64, "groups": 4, "flag": True}}) is value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "method.__class__()",
        "[x for x in [1]]",
        "(lambda: 1)()",
        "method['dim'] > 1",
        "2 ** 1000000 > 1",
        "f'{method}' == ''",
        "method.dim if 1 else 2",
        "(y := 3) > 1",
        "1 << 99999",
        "b'x' == 1",
        "None == 1",
        "1j == 1",
        "",
        "a = 1",
        "(" * 300 + "1" + ")" * 300,
    ],
)
def test_nothing_but_arithmetic_is_an_expression(text: str) -> None:
    with pytest.raises(ExpressionError):
        Expression(text)


def test_what_an_expression_cannot_say() -> None:
    with pytest.raises(Absent, match=r"there is no key method\.groups"):
        Expression("method.groups > 1")({"method": {"name": "byol"}})
    for text in ("method.name % 2 == 0", "method.dim % 0 == 1", "method.name > 3"):
        with pytest.raises(ExpressionError):
            Expression(text)({"method": {"name": "byol", "dim": 4}})


def test_expressions_say_nothing_on_the_terminal(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(ExpressionError):
        Expression("1 is 1")
    assert not recwarn.list


def test_nearest_words() -> None:
    assert nearest("metod", ["method", "data"]) == " Did you mean 'method'?"
    assert nearest("zzz", ["method", "data"]) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (None, "null"), (1, "1"), (0.5, "0.5"), ("a", "a")]
)
def test_values_are_shown_as_the_file_writes_them(value: object, text: str) -> None:
    assert shown(value) == text


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 1000)) == 60


def test_a_file_is_read_from_its_folder(tmp_path: Path) -> None:
    from study.document import read

    (tmp_path / "f.yaml").write_text("a: 1\n")
    assert read(tmp_path / "f.yaml")["a"] == 1
