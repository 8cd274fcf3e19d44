"""The report: whole, self-contained, escaped, with its figures; written or not at all."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from known import Store, groups

from study import figures, report
from study.analyses import StudyView

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


def test_a_page_of_its_own() -> None:
    store = groups()
    tables = store.tables
    for row in store.trials:
        for step in range(5):
            point = {
                "id": row["id"],
                "attempt": 1,
                "step": step,
                "epoch": step / 2,
                "name": "loss",
                "value": 5.0 - step,
            }
            tables.curves.append(point)
    page = report.page(tables, VIEW)
    balance = parsed(page)
    assert "script" not in balance.seen
    assert "link" not in balance.seen
    assert not re.search(r"""(src|href)=|url\(|@import|https?://""", page)
    assert "Is a &lt; b &amp; &lt;script&gt;?" in page
    assert "prefers-color-scheme: dark" in page
    assert 'class="supported"' in page
    assert balance.seen.count("svg") == 3  # means, differences, loss
    assert "+3&nbsp;[+0.516,&nbsp;+5.48]" in page
    assert "1 diverged: loss is not finite at step 3" in page


def test_an_empty_study_has_a_page() -> None:
    page = report.page(Store().tables, StudyView("s"))
    assert "svg" not in parsed(page).seen
    assert "no trial has ended yet" in page


def test_the_page_is_written_beside_its_study(tmp_path: Path) -> None:
    path = report.write(tmp_path, StudyView("empty"))
    assert path == tmp_path / "studies/empty/report.html"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    parsed(path.read_text())


def test_intervals_are_drawn_to_scale() -> None:
    drawn = figures.intervals(
        "t", [figures.Bar("a", 1.0, 0.0, 2.0), figures.Bar("b", 3.0, None, None)], zero=True
    )
    dots = [float(x) for x in re.findall(r'class="dot" cx="([\d.]+)"', drawn)]
    (low, high) = map(float, re.findall(r'class="bar" x1="([\d.]+)" x2="([\d.]+)"', drawn)[0])
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
