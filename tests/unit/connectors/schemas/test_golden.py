"""Every kind in every schema as it was agreed; and what holds for each of them.

After a wanted change: ``UPDATE_GOLDEN=1 pytest tests/unit/connectors/schemas`` and look at the difference.
"""

from __future__ import annotations

import os

import orjson
import pytest

from connectors.schemas import docs, mapping
from connectors.schemas.asim.kinds import KINDS as ASIM_KINDS
from connectors.schemas.asim.mapper import table_of
from connectors.schemas.cim.kinds import KINDS as CIM_KINDS
from connectors.schemas.ecs.kinds import KINDS as ECS_KINDS
from connectors.schemas.ocsf.classes import KINDS as OCSF_KINDS
from exporter.domain.kinds import KINDS as ALL_KINDS
from tests.support.schemas import GOLDEN, KINDS, SCHEMAS, example, pretty

#: Where each schema keeps the event's id.
ID_OF = {
    "ocsf": lambda e: e["metadata"]["uid"],
    "ecs": lambda e: e["event"]["id"],
    "cim": lambda e: e["event_id"],
    "asim": lambda e: e["EventUid"],
    "message": lambda e: e["event.id"],
    "raw": lambda e: e["event.id"],
}


def test_every_kind_has_a_row_in_every_table_and_an_example():
    for table in (OCSF_KINDS, ECS_KINDS, CIM_KINDS, ASIM_KINDS):
        assert table.keys() == ALL_KINDS.keys()
    assert set(KINDS) == ALL_KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_examples_have_what_their_kind_requires(kind):
    assert all(any(key in example(kind) for key in group) for group in ALL_KINDS[kind].requires)


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("kind", KINDS)
def test_golden(schema, kind):
    path = GOLDEN / "schemas" / schema / f"{kind}.json"
    mapped = mapping(schema)(example(kind))
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pretty(mapped))
    assert pretty(mapped) == path.read_bytes()
    assert ID_OF[schema](mapped) == example(kind)["event.id"]


@pytest.mark.parametrize("schema", ["ocsf", "ecs", "cim", "asim"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_value_of_the_event_is_lost(schema, kind):
    text = orjson.dumps(mapping(schema)(example(kind))).decode()
    changed = {"time", "late", "event.outcome", "kind"}  # told otherwise, or by the class
    lost = [
        k
        for k, v in example(kind).items()
        if k not in changed and type(v) is str and orjson.dumps(v).decode() not in text
    ]
    assert not lost


def test_asim_tables_are_named_by_kind():
    assert table_of(example("auth.logon")) == "ASimAuthenticationEventLogs"
    assert table_of({"kind": "process.start"}) == "ASimAuditEventLogs"
    assert table_of(example("log")) is None


def test_the_documentation_is_made_of_the_tables():
    assert (GOLDEN.parents[1] / "docs/reference/schemas.md").read_text("utf-8") == docs.render()
