"""The published rules of OCSF, by version, as the development dependency ``ocsf-json-schema`` ships them; and a judge by them."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import ocsf_json_schema


@functools.cache
def rules(version: str) -> dict:
    """Return classes, objects and types of a version of the schema."""
    return json.loads((Path(ocsf_json_schema.__file__).parent / "ocsf" / f"{version}.json").read_bytes())


def faults(event: dict) -> list[str]:
    """Return what the published schema says against an event: attributes by name and rule, no values."""
    schema = rules(event["metadata"]["version"])
    classes = [c for c in schema["classes"].values() if c.get("uid") == event["class_uid"]]
    if not classes:
        return [f"class {event['class_uid']} does not exist"]
    profiles = set(event["metadata"].get("profiles", ()))
    found = list(_object_faults(event, classes[0], schema, profiles, ""))
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        found.append("type_uid")
    if event["category_uid"] != classes[0]["category_uid" if "category_uid" in classes[0] else "uid"] and (
        str(event["category_uid"]) not in classes[0]["attributes"]["category_uid"].get("enum", {})
    ):
        found.append("category_uid")
    return found


def _object_faults(value, declared, schema, profiles, path):
    attributes = declared["attributes"]
    for name, item in value.items():
        attribute = attributes.get(name)
        if attribute is None or (attribute.get("profile") not in {None, *profiles} and name != "category_uid"):
            yield f"{path}{name} is not declared"
        elif attribute.get("is_array"):
            if type(item) is not list:
                yield f"{path}{name} is no list"
            else:
                for one in item:
                    yield from _value_faults(one, attribute, schema, profiles, f"{path}{name}[]")
        else:
            yield from _value_faults(item, attribute, schema, profiles, f"{path}{name}")
    for name, attribute in attributes.items():
        needed = attribute.get("requirement") == "required" and attribute.get("profile") in {None, *profiles}
        if needed and name not in value:
            yield f"{path}{name} is required"
    for rule, names in (declared.get("constraints") or {}).items():
        count = sum(name in value for name in names)
        if count < 1 or (rule == "just_one" and count > 1):
            yield f"{path} {rule} of {names}"


_CLASSES = {"string_t": str, "integer_t": int, "long_t": int, "boolean_t": bool, "float_t": float}


def _value_faults(value, attribute, schema, profiles, path):
    kind = attribute["type"]
    if kind in {"object_t", "json_t"}:
        name = attribute.get("object_type", "object")
        if kind == "object_t" and name != "object":
            if type(value) is not dict:
                yield f"{path} is no object"
            else:
                yield from _object_faults(value, schema["objects"][name], schema, profiles, f"{path}.")
        return
    declared = schema["types"].get(kind, {})
    base = declared.get("type", kind)
    if type(value) is not _CLASSES.get(base, str):
        yield f"{path} is no {base}"
        return
    if "regex" in declared and not re.search(declared["regex"], value):
        yield f"{path} does not match {kind}"
    if attribute.get("enum") and str(value) not in attribute["enum"]:
        yield f"{path} is outside of its enum"
