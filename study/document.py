"""A YAML file as values that know where they stand, with YAML's traps refused.

Numbers are read as people write them (`1e-6` is a number); duplicate keys, octals (`010`), sexagesimals
(`1:30`), yes/no booleans, tags, alias bombs, more than 32 levels and more than 1 MB are mistakes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from study.mistake import Mistake, Mistakes, Place

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 50_000

_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)\Z")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9][0-9_]*)([eE][-+]?[0-9]+)?\Z")
_OCTAL = re.compile(r"[-+]?0[0-9_]+\Z|[-+]?0[oxb][0-9a-fA-F_]+\Z")
_CLOCK = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?\Z")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_NOT_FINITE = {".inf", "+.inf", "-.inf", ".nan"}


class Block(dict[str, Any]):
    """A mapping of the file; `at[key]` is where its key stands, `values_at[key]` where its value does."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.at: dict[str, Place] = {}
        self.values_at: dict[str, Place] = {}

    def put(self, key: str, value: Any, place: Place, value_place: Place | None = None) -> None:
        self[key] = value
        self.at[key] = place
        self.values_at[key] = value_place or place

    def take(self, other: Block, key: str) -> None:
        self.put(key, other[key], other.at[key], other.values_at[key])


class Items(list[Any]):
    """A list of the file; `at[i]` is where its item stands."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.at: list[Place] = []


def place_of(value: Any, path: tuple[Any, ...], fallback: Place, whole: bool = False) -> Place:
    """Where `path` inside `value` stands: the deepest part of it that the file has."""
    place = fallback
    for key in path:
        if isinstance(value, Block) and key in value:
            place, value = (value.values_at if whole else value.at)[key], value[key]
        elif isinstance(value, Items) and isinstance(key, int) and key < len(value):
            place, value = value.at[key], value[key]
    return place


def plain(value: Any) -> Any:
    """The value without its places: dicts, lists, numbers, strings."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def text(value: Any) -> str:
    """A value as a YAML text that is read as the same value again (JSON, which YAML contains)."""
    return json.dumps(plain(value), indent=1, ensure_ascii=False)


def located(value: Any, place: Place) -> Any:
    """A plain value as if it stood in a file at `place`."""
    if isinstance(value, dict):
        block = Block(place)
        for k, v in value.items():
            block.put(str(k), located(v, place), place)
        return block
    if isinstance(value, list | tuple):
        items = Items(place)
        for v in value:
            items.append(located(v, place))
            items.at.append(place)
        return items
    return value


def read(path: Path, name: str | None = None) -> Block:
    """Read a YAML file.

    Raises:
        Mistakes: whatever is wrong with the file as YAML, all at once where the parser gets that far.
    """
    name = name or str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        hint = ""
        if isinstance(error, FileNotFoundError) and path.parent.is_dir():
            from study.mistake import nearest

            hint = nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")])
        raise Mistakes(f"{name}: cannot be read: {error.strerror or error}.{hint}") from None
    return parse(raw, name)


def parse(raw: bytes | str, name: str = "<text>") -> Block:
    """Parse YAML text into a Block. Raises Mistakes."""
    if isinstance(raw, bytes):
        if len(raw) > MAX_BYTES:
            raise Mistakes(f"{name}: is {len(raw):,} bytes long; a study file has at most {MAX_BYTES:,}")
        try:
            raw = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Mistakes(f"{name}: is not UTF-8 text (byte {error.start})") from None
    try:
        _guard_depth(raw, name)
        node = yaml.compose(raw, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise Mistakes([_translated(error, name)]) from None
    except yaml.reader.ReaderError as error:
        before = raw[: error.position]
        place = Place(name, before.count("\n") + 1, error.position - before.rfind("\n"))
        raise Mistakes([Mistake(place, "", f"not text: character 0x{int(error.character):02x}")]) from None
    except (yaml.YAMLError, ValueError) as error:
        what = str(error).splitlines()[0]
        raise Mistakes([Mistake(Place(name, 1, 1), "", f"not valid YAML: {what}")]) from None
    top = Place(name, 1, 1)
    if node is None:
        raise Mistakes(
            [Mistake(top, "", "the file is empty; a study needs `study:`, `question:` and `base:`")]
        )
    builder = _Builder(name)
    value = builder.build(node, ())
    if builder.mistakes:
        raise Mistakes(builder.mistakes)
    if not isinstance(value, Block):
        raise Mistakes([Mistake(top, "", "the file must be a mapping of keys, like `study: my_study`")])
    return value


def _translated(error: yaml.MarkedYAMLError, name: str) -> Mistake:
    """The parser's complaint in a writer's words, at the place where the fault began."""
    problem, context = error.problem or "", error.context or ""
    mark = error.problem_mark or error.context_mark
    what = f"not valid YAML: {problem or context}"
    if "'\\t'" in problem:
        what = "tabs cannot indent YAML; use spaces"
    elif "another document" in problem:
        what = "a second document begins here; one study a file"
    elif "quoted scalar" in context and error.context_mark:
        mark = error.context_mark
        what = "unclosed quote: it begins here"
    elif error.context_mark and context.startswith("while parsing a flow"):
        bracket = "list [...]" if "sequence" in context else "mapping {...}"
        what += f" (in the {bracket} that begins in line {error.context_mark.line + 1})"
    return Mistake(Place(name, mark.line + 1, mark.column + 1) if mark else Place(name, 1, 1), "", what)


def _guard_depth(text: str, name: str) -> None:
    """Count levels on the event stream: composing a bomb of brackets would end the interpreter's stack."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        nodes += 1
        if depth > MAX_DEPTH:
            raise Mistakes([Mistake(_place(name, event), "", f"more than {MAX_DEPTH} levels of nesting")])
        if nodes > 2 * MAX_NODES:
            raise Mistakes([Mistake(_place(name, event), "", f"more than {MAX_NODES:,} values")])


def _place(name: str, of: yaml.Node | yaml.Event) -> Place:
    mark = of.start_mark
    return Place(name, mark.line + 1, mark.column + 1) if mark else Place(name, 1, 1)


class _Builder:
    def __init__(self, name: str) -> None:
        self.name = name
        self.mistakes: list[Mistake] = []
        self.nodes = 0
        self.overflow = False

    def place(self, node: yaml.Node) -> Place:
        return _place(self.name, node)

    def wrong(self, node: yaml.Node, path: tuple[Any, ...], what: str) -> None:
        self.mistakes.append(Mistake(self.place(node), ".".join(map(str, path)), what))

    def build(self, node: yaml.Node, path: tuple[Any, ...]) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:  # aliases multiply (or contain themselves)
            if not self.overflow:
                self.overflow = True
                self.wrong(node, path[:4], "aliases (&, *) expand to too many values; write them out")
            return None
        if isinstance(node, yaml.MappingNode):
            return self.block(node, path)
        if isinstance(node, yaml.SequenceNode):
            if self.tagged(node, path, "tag:yaml.org,2002:seq"):
                return None
            items = Items(self.place(node))
            for i, child in enumerate(node.value):
                items.append(self.build(child, (*path, i)))
                items.at.append(self.place(child))
            return items
        assert isinstance(node, yaml.ScalarNode)
        return self.scalar(node, path)

    def tagged(self, node: yaml.Node, path: tuple[Any, ...], usual: str) -> bool:
        if node.tag == usual:
            return False
        self.wrong(node, path, f"tags are not allowed ({node.tag.replace('tag:yaml.org,2002:', '!!')})")
        return True

    def block(self, node: yaml.MappingNode, path: tuple[Any, ...]) -> Block | None:
        if self.tagged(node, path, "tag:yaml.org,2002:map"):
            return None
        block = Block(self.place(node))
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.wrong(key_node, path, "a key must be a word, not a list or a mapping")
                continue
            key = key_node.value
            if key_node.tag == "tag:yaml.org,2002:merge":
                self.wrong(key_node, path, "merge keys (<<) are not allowed; use `include:` or write it out")
                continue
            if key in block:
                first = block.at[key].line
                self.wrong(key_node, (*path, key), f"the key stands twice (first in line {first}); keep one")
                continue
            value = self.build(value_node, (*path, key))
            block.put(key, value, self.place(key_node), self.place(value_node))
        return block

    def scalar(self, node: yaml.ScalarNode, path: tuple[Any, ...]) -> Any:
        text = node.value
        if node.style is not None:  # quoted, or a block of text
            if node.tag != "tag:yaml.org,2002:str":
                self.tagged(node, path, "")
            return text
        explicit = node.end_mark.index - node.start_mark.index > len(text) + 2 and "!" in str(node.start_mark)
        if (
            explicit
            or not node.tag.startswith("tag:yaml.org,2002:")
            or node.tag.endswith((":binary", ":set"))
        ):
            self.tagged(node, path, "")
            return None
        lower = text.lower()
        if lower in _WORDS:
            return _WORDS[lower]
        if lower in ("yes", "no", "on", "off", "y", "n"):
            if lower in ("y", "n"):
                return text
            self.wrong(node, path, f"'{text}' is ambiguous in YAML; write true or false, or quote it")
            return None
        if _OCTAL.match(text):
            self.wrong(node, path, f"'{text}' would be read as octal or hexadecimal; write a decimal number")
            return None
        if _CLOCK.match(text):
            self.wrong(node, path, f"'{text}' would be read as base 60; quote it, or write a number")
            return None
        if lower in _NOT_FINITE:
            self.wrong(node, path, f"'{text}' is not a finite number")
            return None
        if _INT.match(text):
            digits = text.replace("_", "")
            if len(digits) > 19:
                self.wrong(node, path, f"'{text[:24]}...' is too large a number")
                return None
            return int(digits)
        if _FLOAT.match(text):
            value = float(text.replace("_", ""))
            if value in (float("inf"), float("-inf")):
                self.wrong(node, path, f"'{text}' is too large a number")
                return None
            return value
        return text
