"""The report's page in a headless Chromium: no errors, tables sort, every figure is drawn, nothing is cut off."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from known import Store, groups
from stored import stored

from study import report
from study.analyses import StudyView

NAMES = ("chromium", "chromium-browser", "chrome", "google-chrome", "google-chrome-stable", "headless-shell")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is on PATH; CHROMIUM can name one"
    ),
]

WATCH = """<script>
const errors = [];
window.addEventListener('error', e => errors.push(String(e.message)));
const loud = console.error;
console.error = (...words) => { errors.push(words.join(' ')); loud(...words); };
</script>"""

LOOK = """<script>
window.addEventListener('load', () => {
  const seen = {errors, figures: [], tables: []};
  document.querySelectorAll('details').forEach(d => { d.open = true; });
  for (const figure of document.querySelectorAll('figure')) {
    const svg = figure.querySelector('svg'), box = svg.getBoundingClientRect();
    const marks = [...svg.querySelectorAll('circle,polyline,polygon,line,text')];
    const outside = marks.filter(m => {
      const b = m.getBoundingClientRect();
      return b.left < box.left - 2 || b.right > box.right + 2 || b.top < box.top - 2 || b.bottom > box.bottom + 2;
    });
    const unpainted = marks.filter(m => {
      const s = getComputedStyle(m);
      return s.fill === 'none' && s.stroke === 'none';
    });
    const size = parseFloat(getComputedStyle(svg).fontSize) * box.width / svg.viewBox.baseVal.width;
    seen.figures.push({name: figure.dataset.figure, width: box.width, height: box.height, marks: marks.length,
      outside: outside.map(m => m.outerHTML.slice(0, 80)), unpainted: unpainted.length, font: size});
  }
  for (const table of document.querySelectorAll('table[data-answer]')) {
    const columns = table.tHead.rows[0].cells.length;
    for (let at = 0; at < columns; at++) {
      const read = () => [...table.tBodies[0].rows].map(r => r.cells[at].textContent);
      const before = read();
      table.tHead.rows[0].cells[at].querySelector('button').click();
      const up = read(), way = table.tHead.rows[0].cells[at].ariaSort;
      table.tHead.rows[0].cells[at].querySelector('button').click();
      seen.tables.push({answer: table.dataset.answer, at, before, up, down: read(), way,
        then: table.tHead.rows[0].cells[at].ariaSort});
    }
  }
  const cell = [...document.querySelectorAll('[data-answer=question] td button')]
    .find(b => b.textContent.startsWith('84'));
  cell.click();
  const box = document.getElementById('behind');
  seen.dialog = {open: box.open, rows: [...box.querySelectorAll('tbody tr')].map(r => r.textContent)};
  box.close();
  seen.width = innerWidth;
  seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  seen.ink = getComputedStyle(document.body).color;
  seen.page = getComputedStyle(document.body).backgroundColor;
  parent.postMessage(JSON.stringify(seen), '*');
});
</script>"""

# A window is never narrower than 500 pixels; a frame is as narrow as a phone.
FRAME = """<!doctype html><meta name="color-scheme" content="light dark">
<style>iframe { color-scheme: light dark; border: 0; } body { margin: 0; }</style><script>
window.addEventListener('message', e => {
  const told = document.createElement('script');
  told.type = 'application/json';
  told.id = 'seen';
  told.textContent = e.data.replaceAll('<', '\\\\u003c');
  document.body.append(told);
});
</script><iframe src="looked.html" width="WIDTH" height="1200"></iframe>"""


def chromium(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A run with a profile of its own; no network is needed, nor allowed."""
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", *words]
    command.append("--host-resolver-rules=MAP * ~NOTFOUND")
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def seen(page: Path, folder: Path, width: int, dark: bool = False) -> dict[str, Any]:
    text = page.read_text()
    looked = folder / "looked.html"
    looked.write_text(text.replace("<head>", "<head>" + WATCH, 1).replace("</body>", LOOK + "</body>"))
    frame = folder / "frame.html"
    frame.write_text(FRAME.replace("WIDTH", str(width)))
    words = ["--window-size=1400,1300", "--dump-dom", "--virtual-time-budget=8000"]
    words += ["--blink-settings=preferredColorScheme=0"] if dark else []
    ended = chromium(*words, f"file://{frame}", folder=folder)
    found = re.search(r'<script type="application/json" id="seen">(.*?)</script>', ended.stdout, re.S)
    assert found, ended.stderr[-2000:]
    assert not re.findall(r"CONSOLE[^\n]*", ended.stderr)
    result: dict[str, Any] = json.loads(found[1])
    return result


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("browser")
    stored(out, groups(), "s")
    low = Store("low")
    for seed in range(3):
        for groups_, gain in ((1, 0.0), (4, 6.0)):
            for fraction, score in ((0.01, 50.0), (0.1, 60.0), (1.0, 70.0)):
                axes = {"method.groups": groups_, "data.fraction": fraction}
                name = f"a rather long name of groups={groups_}, fraction={fraction}"
                low.add(name, seed, axes, {"linear.top1": score + gain * (1 - fraction) + seed * 0.5})
    for row in low.trials:
        row["id"] = "low" + row["id"]
    for score in low.scores:
        score["id"] = "low" + score["id"]
    stored(out, low, "low")
    views = (
        StudyView(
            "s",
            question="Does grouping help?",
            baseline="byol",
            metrics=["linear.top1"],
            axes=["method.groups"],
        ),
        StudyView(
            "low",
            question="With less data?",
            metrics=["linear.top1"],
            baseline="a rather long name of groups=1, fraction=1.0",
        ),
    )
    return report.write(out, *views)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_the_page_opens(page: Path, tmp_path: Path, width: int, dark: bool) -> None:
    found = seen(page, tmp_path, width, dark)
    assert found["errors"] == []
    assert found["width"] == width
    assert found["wide"] <= 0, "the page scrolls sideways"
    assert len(found["figures"]) == page.read_text().count("<figure ")
    assert {"linear.top1 over the fraction of data", "loss"} <= {f["name"] for f in found["figures"]}
    for figure in found["figures"]:
        assert figure["width"] > 250, figure
        assert figure["height"] > 60, figure
        assert figure["marks"] > 5, figure
        assert figure["outside"] == [], figure
        assert figure["unpainted"] == 0, figure
        assert figure["font"] >= 9, figure
    light = sum(map(int, re.findall(r"\d+", found["page"])[:3])) > 3 * 128
    assert light is not dark
    assert found["ink"] != found["page"]
    assert found["dialog"]["open"]
    assert [row for row in found["dialog"]["rows"] if "groups=4" in row] == found["dialog"]["rows"]
    assert len(found["dialog"]["rows"]) == 3


def test_tables_sort(page: Path, tmp_path: Path) -> None:
    found = seen(page, tmp_path, 1280)
    assert found["tables"]
    moved = 0
    for table in found["tables"]:
        assert (table["way"], table["then"]) == ("ascending", "descending"), table
        assert sorted(table["before"]) == sorted(table["up"]) == sorted(table["down"])
        known = [text for text in table["up"] if text != "–"]
        if all(re.match(r"^[+-]?[\d.]+(\D|$)", text) for text in known):
            values = [float(re.match(r"^[+-]?[\d.]+(e[+-]?\d+)?", text)[0]) for text in known]
            assert values == sorted(values), table
            down = [float(re.match(r"^[+-]?[\d.]+(e[+-]?\d+)?", t)[0]) for t in table["down"] if t != "–"]
            assert down == values[::-1], table
        moved += table["up"] != table["before"] or table["down"] != table["up"]
    assert moved > 5
