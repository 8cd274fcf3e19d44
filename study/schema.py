"""The JSON Schema of a study file, made from the specs: what an editor completes and checks."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from study.axes import SAMPLED_KINDS
from study.spec import BLOCKS, TrialSpec
from study.studyfile import SCALES, StudyFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema of a whole file.

    Blocks may be partial everywhere: a file's base, arms and scales complete one another, so that what is
    missing is known only when they are put together (`python -m study check` does).
    """
    trial = TypeAdapter(TrialSpec).json_schema(ref_template="#/$defs/{model}")
    study = TypeAdapter(StudyFile).json_schema(ref_template="#/$defs/{model}")
    definitions = {**trial.pop("$defs", {}), **study.pop("$defs", {})}
    made = {f"block_{name}": _block(trial["properties"][name], definitions) for name in BLOCKS}
    blocks = {name: {"$ref": f"#/$defs/block_{name}"} for name in BLOCKS}
    evaluation = trial["properties"]["evaluate"]["items"]
    names = sorted(_mapping(evaluation))
    made["evaluate"] = {
        "description": "what is measured when a trial has trained; `knn` is short for {name: knn}",
        "type": "array",
        "items": {"anyOf": [{"enum": names}, _partial_union(evaluation, definitions)]},
    }
    evaluate = {"$ref": "#/$defs/evaluate"}
    block = {"type": "object", "properties": blocks, "additionalProperties": False}
    made["arm"] = {
        "type": ["object", "null"],
        "properties": {**blocks, "evaluate": evaluate},
        "additionalProperties": False,
        "description": "what differs from the base in this row",
    }
    top = {key: _loose(value) for key, value in study["properties"].items()}
    top["grid"] = _axes({"type": "array", "minItems": 1}, "every value is run: {key: [values]}")
    top["search"] = _axes(_sampled(), "sampled in every cell: {key: {log: [low, high]}}")
    top["base"] = {**block, "description": "one complete trial"}
    top["arms"] = {
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/arm"},
        "description": "named rows beside the grid",
    }
    top["evaluate"] = evaluate
    paths = [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
    top["include"] = {
        "anyOf": paths,
        "description": "study files whose base and scales lie under this file's",
    }
    inner = {k: v for k, v in top.items() if k not in ("study", "include")}
    made["scale"] = {"type": ["object", "null"], "properties": inner, "additionalProperties": False}
    top["scales"] = {
        "type": "object",
        "properties": {scale: {"$ref": "#/$defs/scale"} for scale in SCALES},
        "additionalProperties": False,
        "description": "the same question at other sizes; chosen by --scale",
    }
    return {
        "$schema": DIALECT,
        "title": "A study of ssl-study",
        "type": "object",
        "properties": top,
        "required": ["study", "question"],
        "additionalProperties": False,
        "$defs": {**{name: _definition(value) for name, value in definitions.items()}, **made},
    }


def _block(ref: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A block of a trial that may be partial: a name chooses the keys; without one, those of any member."""
    if "anyOf" in ref:  # a block that may be null
        some = next(one for one in ref["anyOf"] if one.get("type") != "null")
        return {"anyOf": [_block(some, definitions), {"type": "null"}]}
    if "oneOf" in ref:
        return _partial_union(ref, definitions)
    return {"$ref": ref["$ref"]} if "$ref" in ref else ref


def _mapping(union: dict[str, Any]) -> dict[str, str]:
    found = union.get("discriminator", {}).get("mapping", {})
    if not found:
        raise ValueError("a union of specs needs a discriminator")
    return dict(found)


def _partial_union(union: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    mapping = _mapping(union)
    members = list(dict.fromkeys(mapping.values()))
    keys: dict[str, Any] = {}
    for member in members:
        keys |= dict.fromkeys(definitions[member.split("/")[-1]]["properties"], True)
    chosen = [
        {
            "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
            "then": {"$ref": reference},
        }
        for name, reference in mapping.items()
    ]
    return {
        "type": "object",
        "properties": {**keys, "name": {"enum": list(mapping)}},
        "additionalProperties": False,
        "allOf": chosen,
    }


def _axes(value: dict[str, Any], what: str) -> dict[str, Any]:
    pattern = f"^({'|'.join(BLOCKS)})(\\.[A-Za-z0-9_]+)*$"
    return {
        "type": "object",
        "description": what,
        "propertyNames": {"pattern": pattern},
        "additionalProperties": value,
    }


def _sampled() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {kind: {"type": "array", "minItems": 1} for kind in SAMPLED_KINDS},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _definition(value: dict[str, Any]) -> dict[str, Any]:
    """A spec whose keys may be missing."""
    return {key: inner for key, inner in value.items() if key != "required"}


def _loose(value: dict[str, Any]) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if key != "title"}
