"""What single targets make of mapped events."""

from __future__ import annotations

import orjson
import pytest

from connectors.base import Record
from connectors.schemas import SchemaEncoder
from connectors.sentinel.columns import DEFAULT_COLUMNS, parse_columns
from connectors.sentinel.rows import Mapper, Rows
from connectors.splunk_hec.encode import Envelopes
from connectors.splunk_hec.settings import SplunkHecSettings
from exporter.domain.secrets import Secret
from tests.support.schemas import example


def record(schema: str, kind: str = "auth.logon", **keys) -> Record:
    value = orjson.dumps(example(kind) | keys)
    (body,) = SchemaEncoder(schema).encode([value])
    return Record(1, b"k", body, value)


def envelopes(schema: str, path) -> Envelopes:
    (path / "token").write_text("t")
    token = Secret(path=path / "token")
    return Envelopes(SplunkHecSettings(kind="splunk_hec", url="http://127.0.0.1:8088", token_file=token, schema=schema))


@pytest.mark.parametrize("schema", ["ocsf", "ecs", "cim"])
def test_hec_takes_the_time_from_the_canonical_event(schema, tmp_path):
    given = record(schema)
    (encoded,), rejected = envelopes(schema, tmp_path).encode("t", [given])
    envelope = orjson.loads(encoded.body(1))
    assert rejected == []
    assert envelope["event"] == orjson.loads(given.value)
    assert int(envelope["time"]) == example("auth.logon")["time"] // 10**9


@pytest.mark.parametrize("schema", ["message", "raw"])
def test_hec_gets_texts_with_their_ids_beside_them(schema, tmp_path):
    (encoded,), rejected = envelopes(schema, tmp_path).encode("t", [record(schema), record(schema, message=" ")])
    envelope = orjson.loads(encoded.body(1))
    assert envelope["event"] == example("auth.logon")["message"]
    assert envelope["fields"] == {"event_id": example("auth.logon")["event.id"]}
    assert [r.code for r in rejected] == ["blank"]


def test_sentinel_gets_asim_rows_as_they_are_and_cuts_large_fields():
    mapper, rows = Mapper(parse_columns(DEFAULT_COLUMNS)), Rows(1000)
    large = record("asim", message="x" * 70_000)
    assert mapper.add_mapped([record("asim"), large, Record(3, b"k", b"{}")], 0, rows) == [2]
    sent = orjson.loads(b"[" + bytes(rows.text[1 : rows.used - 1]) + b"]")
    assert sent[0] == orjson.loads(record("asim").value)
    assert len(sent[1]["EventMessage"]) == 65_536
    assert rows.indices == [0, 1]
    assert mapper.changes.truncated == 1
