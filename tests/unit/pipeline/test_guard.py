"""What a tenant's policy lets pass leaves in every schema; what nobody's policy let pass never does."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.schemas import SchemaEncoder
from exporter.pipeline import compile_pipeline
from exporter.pipeline.guard import ExitGuard
from exporter.settings.policy import SHIPPED
from tests.support.pipelines import TENANT, batch_of, settings_of, stream_of
from tests.support.planted import make_secret, planted
from tests.support.pseudonyms import policy_pipeline

SCHEMAS = ("canonical", "ocsf", "ecs", "cim", "asim", "message", "raw")
OWN: dict[str, Any] = {
    "kept": {"actions": {"email": "keep", "ipv4": "keep", "ipv6": "keep"}},
    "password kept": {"actions": {"password": "keep", "card": "keep"}},
    "partial": {"actions": {"email": {"partial": "domain"}, "card": {"partial": 4}, "iban": {"partial": 2}}},
    "generalised": {"actions": {"ipv4": {"generalise": 24}, "ipv6": {"generalise": 48}}},
    "encrypted": {"actions": {"ipv4": "ip_token", "ipv6": "ip_prefix", "email": "pseudonym"}},
    "fields": {
        "fields": {
            "user.name": {"truncate": 3},
            "labels.user": "pseudonym",
            "unmapped.age": {"range": 10},
            "unmapped.when": {"generalise": "hour"},
            "unmapped.*": "keep",
        }
    },
    "allowed": {
        "allow_fields": ["message", "kind", "source.ip", "url.path", "labels.job"],
        "actions": {"ipv4": "keep"},
    },
    "others hidden": {"allow_fields": ["url.path"], "other_fields": "pseudonym", "actions": {"email": "keep"}},
    "based": {"based_on": "security", "actions": {"ipv4": "keep"}, "fields": {"user.name": "keep"}},
}
POLICIES: dict[str, Any] = {**dict(zip(SHIPPED, SHIPPED, strict=True)), **OWN}
#: Rules that each of our own policies keeps: what they find may leave.
KEPT = {name: {r for r, a in p.get("actions", {}).items() if a == "keep"} for name, p in OWN.items()}


@cache
def pipeline(policy: str, original: str):
    return policy_pipeline(POLICIES[policy], original=original)


@cache
def guard(policy: str) -> ExitGuard:
    """As the delivery has it: without a store of pseudonyms."""
    return compile_pipeline(TENANT, settings_of(policy=POLICIES[policy])).guard()


@cache
def encoder(schema: str) -> SchemaEncoder:
    return SchemaEncoder(schema)


def mapped(schema: str, values: list[bytes]) -> list[bytes]:
    bodies = values if schema == "canonical" else encoder(schema).encode(values)
    return [body for body in bodies if body is not None]


def places_held(policy: str, values: list[bytes]) -> dict[str, int]:
    """Return how many events of each schema are held; no event, for a failing test prints this."""
    held = {schema: len(guard(policy).hits(mapped(schema, values), values)) for schema in SCHEMAS}
    return {schema: number for schema, number in held.items() if number}


@pytest.mark.parametrize("original", ["never", "always"])
@pytest.mark.parametrize("policy", POLICIES)
def test_whatever_the_reader_lets_pass_leaves_in_every_schema(policy, original):
    streams = [stream_of([p.line], p.labels or {"job": "x"}, [p.metadata or {}]) for p in planted(260, seed=11)]
    out = pipeline(policy, original).process(batch_of(*streams))
    assert len(out.values) > 150
    assert places_held(policy, out.values) == {}


_KEYS = st.sampled_from(
    [
        "user",
        "msg",
        "password",
        "age",
        "when",
        "path",
        "query",
        "ip",
        "src",
        "dst",
        "email",
        "to",
        "token",
        "card",
        "method",
        "status",
        "level",
        "a:b",
    ]
)
_SECRETS = st.builds(
    lambda kind, seed: make_secret(kind, random.Random(seed)).text,
    st.sampled_from(["email", "ipv4", "ipv6", "card", "iban", "password", "bearer"]),
    st.integers(0, 10_000),
)
_VALUES = st.one_of(
    _SECRETS, st.text(max_size=12), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["GET", "2026-11-24T10:11:12Z", "/a/b.txt", "name:", 'password:"', "x=", "password", "=y1Zz9qT"]),
)  # fmt: skip
_OBJECTS = st.dictionaries(
    _KEYS, st.one_of(_VALUES, st.lists(_VALUES, max_size=3), st.dictionaries(_KEYS, _VALUES, max_size=3)), max_size=6
)


def _line(fields: dict[str, Any], form: str) -> str:
    if form == "json":
        return orjson.dumps(fields, default=str, option=0).decode()
    return " ".join(f"{key}={value}" for key, value in fields.items()).replace("\n", " ")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(POLICIES)), st.lists(_OBJECTS, max_size=4), st.sampled_from(["json", "text"]), st.data())
def test_any_event_of_the_pipeline_leaves_in_every_schema(policy, objects, form, data):
    lines = []
    for fields in objects:
        plain = {k: v if not isinstance(v, int) or -(2**63) <= v < 2**63 else str(v) for k, v in fields.items()}
        try:
            lines.append(_line(plain, form))
        except TypeError:  # an integer of more than 64 bits, deeper down
            lines.append(_line({k: repr(v) for k, v in plain.items()}, form))
    original = data.draw(st.sampled_from(["never", "always"]))
    labels = {"job": "x", "user": data.draw(_SECRETS)}
    out = pipeline(policy, original).process(batch_of(stream_of(lines, labels)))
    assert places_held(policy, out.values) == {}


_EVENT = {"event.id": "0" * 31 + "7", "time": 1_795_442_400_123_456_789, "tenant.id": TENANT, "kind": "log"}


def _strings(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of all texts of a mapped event."""
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in _strings(item, (*path, key))]
    return [path] if isinstance(value, str) else []


def _planted(body: bytes, chance: random.Random, text: str, how: str) -> bytes:
    value = orjson.loads(body)
    # Dotted numbers beside the word "version" are versions to the rule for addresses, as at the reader.
    *parents, last = chance.choice([path for path in _strings(value) if not path[-1].lower().endswith("version")])
    inside = value
    for key in parents:
        inside = inside[key]
    if how == "key":
        inside[text] = 1
    else:
        inside[last] = {"value": text, "list": [text], "json": orjson.dumps({"a": [text]}).decode()}[how]
    return orjson.dumps(value)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(POLICIES)),
    st.sampled_from(SCHEMAS),
    st.sampled_from(["email", "ipv4", "ipv6", "card", "iban", "password", "bearer"]),
    st.sampled_from(["value", "list", "json", "key"]),
    st.integers(0, 2**32),
)
def test_what_no_reader_let_pass_is_always_found(policy, schema, kind, how, seed):
    chance = random.Random(seed)
    secret = make_secret(kind, chance)
    head = orjson.dumps({**_EVENT, "message": "hello", "user.name": "[redacted-user-bcdfghjk]", "service.name": "pay"})
    (body,) = mapped(schema, [head])
    held = guard(policy).hits([body, _planted(body, chance, secret.text, how)], [head, head])
    is_kept = kind in KEPT.get(policy, ())
    assert held == ([] if is_kept else [1])


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("kind", ["email", "card", "ipv4", "password"])
def test_an_event_that_no_reader_would_have_let_pass_is_held_in_every_schema(schema, kind):
    text = make_secret(kind, random.Random(3)).text
    heads = [orjson.dumps({**_EVENT, "message": m, "url.path": "/x"}) for m in ("fine", f"see {text} there")]
    assert guard("technical").hits(mapped(schema, heads), heads) == [1]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_neither_ids_nor_times_are_taken_for_card_numbers(schema):
    chance = random.Random(5)
    heads = []
    for _ in range(1500):
        digits = make_secret("card", chance).text
        ours = {"event.id": "0" * 16 + digits, "time": int(digits + "000"), "policy.id": digits, "loki.stream": digits}
        heads.append(orjson.dumps({**_EVENT, **ours, "service.name": "pay"}))
    assert guard("technical").hits(mapped(schema, heads), heads) == []


def test_one_name_twice_hides_nothing():
    head = orjson.dumps({**_EVENT, "message": "x"})
    body = b'{"a":"%b","a":"x"}' % make_secret("email", random.Random(1)).text.encode()
    assert guard("technical").hits([body], [head]) == [0]
