"""A study as files for another machine: what it includes written out, and beside it the studies it starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from study import document
from study.document import Block
from study.studyfile import included


def bundle(path: Path) -> dict[str, str]:
    """Name to text; the study file is the first. Paths of checkpoint files become whole ones. Raises Mistakes."""
    names: dict[Path, str] = {}
    texts: dict[str, str] = {}

    def add(file: Path) -> str:
        place = file.resolve()
        if place not in names:
            name = place.name if place.name not in texts else f"{len(texts)}-{place.name}"
            names[place] = name
            texts[name] = ""  # its place in the order, and the end of a circle
            blocks = included(file)
            texts[name] = document.text({k: moved(v, file) for k, v in blocks.items() if k != "include"})
        return names[place]

    def moved(value: Any, file: Path) -> Any:
        if isinstance(value, list):
            return [moved(item, file) for item in value]
        if not isinstance(value, Block):
            return value
        found = {key: moved(item, file) for key, item in value.items()}
        study, path = value.get("study"), value.get("path")
        if value.get("name") == "arm" and isinstance(study, str) and (file.parent / study).is_file():
            found["study"] = add(file.parent / study)
        if value.get("name") == "file" and isinstance(path, str):
            folder = Path(
                value.values_at["path"].file
            ).parent  # of the file that says so, maybe an included one
            found["path"] = str((folder / Path(path).expanduser()).resolve())
        return found

    add(path)
    return texts
