"""A study handed to a cluster: what is sent, and what is said when there is no cluster to send it to."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.__main__ import main
from study.bundle import bundle
from study.cluster.connect import Resources, runtime_env
from study.cluster.sweep import Needs, concurrency
from study.space import Space
from study.studyfile import load
from study.verbs.submit import below_home, command
from tests.study_files import GOOD

ROOT = Path(__file__).parent.parent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A study file that includes another."""
    shared, rest = tmp_path / "parts" / "shared.yaml", GOOD.split("evaluate:", 1)
    shared.parent.mkdir()
    shared.write_text(rest[0].split("\n", 2)[2])
    path = tmp_path / "small.yaml"
    head = "study: small\nquestion: 'What does \"it\" refuse: é, 1e-6?'\ninclude: parts/shared.yaml\n"
    path.write_text(head + "evaluate:" + rest[1])
    return path


def same(path: Path, folder: Path, scale: str = "laptop") -> dict[str, str]:
    """The bundle of a study, which says elsewhere what the study says here."""
    files = bundle(path)
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    ours, theirs = Space(load(path, scale)), Space(load(folder / next(iter(files)), scale))
    assert ours.settings == theirs.settings
    assert [(t.arm, t.id) for t in ours.fixed()] == [(t.arm, t.id) for t in theirs.fixed()]
    assert ours.count() == theirs.count()
    return files


def test_a_file_and_what_it_includes(file: Path, tmp_path: Path) -> None:
    assert list(same(file, tmp_path / "elsewhere")) == ["small.yaml"]


@pytest.mark.parametrize("path", sorted((ROOT / "searchspaces").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_study_of_ours_says_the_same_elsewhere(path: Path, tmp_path: Path) -> None:
    same(path, tmp_path / "elsewhere")


def test_studies_and_files_that_it_starts_from(file: Path, tmp_path: Path) -> None:
    import torch

    (tmp_path / "other").mkdir()
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "weights.pt")
    first = tmp_path / "other" / "small.yaml"  # by the same name as the study that starts from it
    first.write_text(GOOD.replace("study: small", "study: first"))
    start = "  taught: {start: {name: arm, study: other/small.yaml, arm: byol}, method: {name: byol, hidden: 64}}\n"
    start += "  given: {start: {name: file, path: weights.pt}}\n"
    file.write_text(file.read_text().replace("arms:\n", "arms:\n" + start))
    files = same(file, tmp_path / "elsewhere")
    assert list(files) == ["small.yaml", "1-small.yaml"]
    assert str(tmp_path / "weights.pt") in files["small.yaml"]


def test_flags_go_along(file: Path) -> None:
    from study.commandline import Parser, run_parser
    from study.verbs import submit

    parser = Parser()
    submit.add(parser)
    words = [
        str(file),
        "--address",
        "http://h:1",
        "--set",
        "seeds=5",
        "--set",
        "question=a b",
        "--workers",
        "2",
    ]
    words += ["--out", "here", "--data", "/sets", "--gpus", "0.5", "--save-every", "0", "--channels-last"]
    sent = command("small.yaml", parser.parse_args(words))
    assert sent[:3] == ["-m", "study.run", "small.yaml"]
    got = run_parser().parse_args(sent[2:])
    assert got.overrides == ["seeds=5", "question=a b"]
    assert (got.workers, got.gpus, got.save_every) == (2, 0.5, 0.0)
    assert got.channels_last
    assert not got.compile
    assert "~/here" in sent
    assert (got.out, str(got.data)) == (Path.home() / "here", "/sets")
    assert got.address is None


def test_folders_are_the_clusters() -> None:
    """A job's working folder is removed when it ends: results must not be put there."""
    assert below_home(Path("results")) == "~/results"
    assert below_home(Path("/shared/x")) == "/shared/x"
    assert below_home(Path("~/x")) == "~/x"


def test_workers_get_the_packages_that_run_here() -> None:
    names = [Path(module).name for module in runtime_env()["py_modules"]]
    assert names == ["study", "models", "data"]
    assert all((Path(module) / "__init__.py").is_file() for module in runtime_env()["py_modules"])


class _NoRay(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>a page</html>")

    def log_message(self, *words: object) -> None:
        return None


@pytest.fixture
def page() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _NoRay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["submit", *words]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    return said


def test_mistakes_are_one_line(
    file: Path, page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert "needs --address http://HOST:8265" in refused(capsys, str(file))
    assert "like http://HOST:8265" in refused(capsys, str(file), "--address", "10.0.0.1:6379")
    assert "nothing answers there" in refused(capsys, str(file), "--address", "http://127.0.0.1:9")
    assert "is no Ray dashboard" in refused(capsys, str(file), "--address", page)
    file.write_text(file.read_text().replace("seeds: 3", "seeds: 0"))
    assert "small.yaml:10:8: seeds: must be" in refused(capsys, str(file), "--address", page)


def test_without_the_extra(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "aiohttp" else found(name, *rest)
    )
    assert "ssl-study[cluster]" in refused(capsys, str(file), "--address", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("nodes", "needs", "at_once"),
    [
        (((3, 0), (3, 0)), Needs(cpus=2), 2),  # not 3: a process does not span nodes
        (((0, 0), (1, 0), (1, 0)), Needs(), 2),
        (((0, 0), (1, 0), (1, 0)), Needs(workers=2), 1),  # but the processes of a trial may
        (((8, 2),), Needs(cpus=1, gpus=0.5), 4),
        (((8, 2),), Needs(cpus=1, gpus=0.6), 2),
        (((8, 2), (8, 4)), Needs(cpus=1, gpus=1, workers=4), 1),
        (((2, 0),), Needs(cpus=4), 0),
    ],
)
def test_how_many_trials_fit(nodes: tuple[tuple[float, float], ...], needs: Needs, at_once: int) -> None:
    assert concurrency(Resources(nodes), needs) == at_once
