"""The report: whole, self-contained, escaped, with its figures; its twins; every number worked out anew."""

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
from known import Store, groups
from stored import stored

from study import bench_tables, figures, report, table, twins
from study.__main__ import main
from study.analyses import ANALYSES, StudyView
from study.chapter import Chapter
from study.mistake import Mistakes
from study.table import Tables
from study.verify import verify

VIEW = StudyView(
    "s",
    question="Is a < b & <script>?",
    baseline="byol",
    metrics=["linear.top1"],
    claims=[
        {
            "say": "it is",
            "a": {"method.groups": 4},
            "b": {"method.groups": 1},
            "metric": "linear.top1",
            "expect": "a > b",
        }
    ],
    reproduces={"paper": "LEWEL", "table": "Tab7"},
)


class Balance(HTMLParser):
    """Refuses a page whose elements do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Balance:
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    return balance


def test_a_page_of_its_own(tmp_path: Path) -> None:
    stored(tmp_path, groups(), "s")
    page = report.page([Chapter(Tables(tmp_path, "s"), VIEW)])
    balance = parsed(page)
    assert balance.seen.count("script") == 2  # the numbers and the page's own few lines
    assert "link" not in balance.seen
    assert not re.search(r"""(src|href)=["']?[^#]|url\(|@import""", page.replace('href="#', ""))
    assert "Is a &lt; b &amp; &lt;script&gt;?" in page
    assert "prefers-color-scheme:dark" in page
    assert 'class="supported"' in page
    assert "+3&nbsp;[+0.516,&nbsp;+5.48]" in page
    assert "1 diverged: loss is not finite at step 3" in page
    # means, differences, cost, loss, and a key of the legend an arm
    assert balance.seen.count("figure") == 4
    assert balance.seen.count("svg") == 4 + 3


def test_a_number_knows_its_trials(tmp_path: Path) -> None:
    stored(tmp_path, groups(), "s")
    page = report.page([Chapter(Tables(tmp_path, "s"), VIEW)])
    numbers = json.loads(re.findall(r'id="numbers">(.*?)</script>', page)[0])["studies"][0]
    four = next(i for i, r in enumerate(numbers["answers"]["question"]["rows"]) if r["arm"] == "groups=4")
    sources = numbers["answers"]["question"]["trials"][four]

    def arms(column: str) -> list[tuple[str, int]]:
        return sorted((numbers["trials"][i][1], numbers["trials"][i][2]) for i in sources[column])

    assert arms("") == [("groups=4", 0), ("groups=4", 1), ("groups=4", 2)]
    assert arms("linear.top1: difference") == sorted([(a, s) for a in ("byol", "groups=4") for s in range(3)])
    assert arms("not done") == [("groups=4", 3)]
    assert numbers["trials"][sources[""][0]][-1] == 82.0


def test_an_empty_study_has_a_page() -> None:
    page = report.page([Chapter(Store().tables, StudyView("s"))])
    assert "svg" not in parsed(page).seen
    assert "no trial has ended yet" in page


def test_the_page_and_its_twins_are_written_beside_the_study(tmp_path: Path) -> None:
    stored(tmp_path, groups(), "s")
    path = report.write(tmp_path, VIEW)
    assert path == tmp_path / "studies/s/report.html"
    names = {str(p.relative_to(path.parent)) for p in path.parent.rglob("*") if p.is_file()}
    assert {"report.html", "report.md", "report.tex", "tables/question.csv", "tables/question.tex"} <= names
    assert not [name for name in names if "partial" in name]
    parsed(path.read_text())
    rows = list(csv.DictReader((path.parent / "tables/question.csv").open()))
    assert [float(row["linear.top1.mean"]) for row in rows] == [81.0, 81.0, 84.0]
    assert len(rows[0]["ids"].split()) == 3
    for drawn in (path.parent / "figures").iterdir():
        root = ElementTree.parse(drawn).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "--c0:#" in drawn.read_text()


def test_latex_is_booktabs_and_escaped(tmp_path: Path) -> None:
    stored(tmp_path, groups(), "s")
    text = twins.latex([Chapter(Tables(tmp_path, "s"), VIEW)])
    for rule in ("\\toprule", "\\midrule", "\\bottomrule", "\\usepackage{booktabs}"):
        assert rule in text
    assert "Is a \\textless{} b \\& \\textless{}script\\textgreater{}?" in text
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") >= 5
    for body in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.S):
        for line in body[1].splitlines():
            if line.endswith("\\\\"):
                assert len(re.findall(r"(?<!\\)&", line)) == len(body[0]) - 1
    assert not re.search(r"(?<!\\)[%#_]", text.replace("\\%", ""))


def test_verify_agrees_then_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(tmp_path, groups(), "s")
    path = report.write(tmp_path, VIEW)
    assert verify(path).mismatches == []
    assert main(["verify", str(path)]) == 0
    assert "agree with the tables" in capsys.readouterr().out
    page = path.read_text()
    # A cell that was changed, a number that was changed, a note, and a drawing.
    for old, new, where in (
        ("<button>84&nbsp;", "<button>94&nbsp;", "question: groups=4: linear.top1 as shown"),
        ('"linear.top1.mean":84.0', '"linear.top1.mean":84.1', "linear.top1.mean: the page has 84.1"),
        ("1 diverged: loss is not finite", "1 diverged: it is finite", "accounting: notes"),
        ('class="dot" cx="', 'class="dot" cx="1', "figure linear.top1"),
        ("10 trials", "12 trials", "facts shown"),
    ):
        assert old in page, old
        path.write_text(page.replace(old, new))
        assert main(["verify", str(path)]) == 1
        assert where in capsys.readouterr().out
    # Another score in the tables, and the page as it was.
    path.write_text(page)
    part = next((tmp_path / "tables/scores/s").glob("t2-*.parquet"))
    rows = table.rows_of(tmp_path, "scores", "s", part.stem)
    table.write(tmp_path, "scores", part.stem, [{**rows[0], "value": 70.0}], study="s")
    assert main(["verify", str(path)]) == 1
    told = capsys.readouterr().out
    assert "trial t2" in told
    assert "do not agree with the tables" in told


def test_verify_refuses_what_is_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.html").write_text("<p>hello</p>")
    assert main(["verify", str(tmp_path / "x.html")]) == 2
    assert "carries no numbers" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "absent.html")]) == 2
    stored(tmp_path, groups(), "s")
    path = report.write(tmp_path, VIEW)
    with pytest.raises(Mistakes, match="holds no trial"):
        verify(path, tmp_path / "elsewhere")


def test_several_studies_are_one_report_with_an_index(tmp_path: Path) -> None:
    stored(tmp_path, groups(), "s")
    stored(tmp_path, groups(), "other")
    path = report.write(tmp_path, VIEW, StudyView("other", baseline="byol", metrics=["linear.top1"]))
    assert path == tmp_path / "report/report.html"
    page = path.read_text()
    parsed(page)
    assert '<a href="#s">s</a>' in page
    assert 'id="other"' in page
    assert (path.parent / "tables/other-question.csv").exists()
    assert verify(path).studies == ["s", "other"]
    assert verify(path).mismatches == []


def test_intervals_are_drawn_to_scale() -> None:
    drawn = figures.intervals(
        "t", "x", [figures.Bar("a", 1.0, 0.0, 2.0), figures.Bar("b", 3.0, None, None)], zero=True
    )
    dots = [float(x) for x in re.findall(r'class="dot" cx="([\d.]+)"', drawn)]
    (low, high) = map(float, re.findall(r'class="bar" x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"', drawn)[0])
    assert (low + high) / 2 == pytest.approx(dots[0], abs=0.1)
    assert (dots[1] - dots[0]) / (high - low) == pytest.approx(1.0, abs=0.01)
    assert float(re.findall(r'class="zero" x1="([\d.]+)"', drawn)[0]) == pytest.approx(low)


def test_lines_take_the_mean_and_leave_out_what_is_not_finite() -> None:
    drawn = figures.lines("t", "step", {"a": [[(0, 1.0), (1, 2.0)], [(0, 3.0), (1, 4.0), (2, float("inf"))]]})
    assert drawn.count("<polyline") == 3
    assert "inf" not in drawn
    assert "nan" not in drawn
    assert figures.lines("t", "step", {"a": [[(0, float("nan"))]]}) == ""
    assert len(figures.lines("t", "step", {"a": [[(i, float(i % 7)) for i in range(100_000)]]})) < 10_000


def test_the_bench_measures_every_table_and_the_page(tmp_path: Path) -> None:
    lines: list[str] = []
    slowest, page = bench_tables.run(lines.append, trials=60, points=10, folder=tmp_path)
    told = "\n".join(lines)
    assert all(f"{name}: " in told for name in ANALYSES)
    assert "60 trials x 10 curve rows" in told
    assert 0 < slowest < 60
    assert 0 < page < 60
    assert len(Tables(tmp_path, "bench").curves) == 600
