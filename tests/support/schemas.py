"""Example events by kind, and where their golden forms are."""

from __future__ import annotations

from pathlib import Path

import orjson

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = sorted(path.stem for path in (GOLDEN / "kinds").glob("*.json"))
SCHEMAS = ("ocsf", "ecs", "cim", "asim", "message", "raw")


def example(kind: str) -> dict:
    return orjson.loads((GOLDEN / "kinds" / f"{kind}.json").read_bytes())


def pretty(event: dict) -> bytes:
    return orjson.dumps(event, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
