"""Field policies: by name, wherever the event has it, and out of every other text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pipelines import batch_of, events_of, stream_of
from tests.support.pseudonyms import policy_pipeline

NAME = "zebulon"


def event_of(
    policy: Any, line: str, labels: dict[str, str] | None = None, metadata: dict[str, str] | None = None, **changes: Any
) -> dict[str, Any]:
    stream = stream_of([line], labels or {"job": "shop"}, [metadata] if metadata else None)
    (event,) = events_of(policy_pipeline(policy, **changes).process(batch_of(stream)))
    return event


@pytest.mark.parametrize("action", ["mask", "pseudonym", "drop_field", {"truncate": 2}])
@pytest.mark.parametrize(
    "line",
    [
        f'{{"user":"{NAME}","msg":"hello {NAME}, bye"}}',
        f'user={NAME} msg="hello {NAME}"',
        f'{{"ctx":{{"username":"{NAME}"}},"user":"{NAME}","list":["{NAME}",1]}}',
        f'{{"http":{{"user":"{NAME}"}},"user.name":"{NAME}"}}',
        f'{{"user":"{NAME}","path":"/home/{NAME}/x","q":{{"a":["see {NAME}"]}}}}',
    ],
)
def test_a_value_is_gone_from_the_whole_event(action: Any, line: str):
    event = event_of({"fields": {"user.name": action}}, line, {"job": "x", "username": NAME}, original="always")
    assert NAME not in json.dumps(event)


def test_the_same_name_in_labels_metadata_and_aliases_is_meant():
    policy = {"fields": {"user.id": "pseudonym"}}
    event = event_of(
        policy, '{"uid":"u-4711","userid":"u-4711","msg":"m"}', {"user_id": "u-4711"}, {"user_id": "u-4711"}
    )
    assert "4711" not in json.dumps(event)
    assert event["user.id"] == event["loki.labels"]["user_id"] == event["loki.structured_metadata"]["user_id"]


@pytest.mark.parametrize(
    "line",
    [
        f'{{"user":{{"favourite":"{NAME}"}},"n":1}}',
        f'{{"user.favourite":"{NAME}","n":1}}',
        f'{{"user":{{"favourite":["{NAME}",{{"x":"{NAME}"}}]}}}}',
        f"user.favourite={NAME} n=1",
    ],
)
@pytest.mark.parametrize(
    "name", ["user.favourite", "user.*", "unmapped.user.favourite", "unmapped.user.*", "unmapped.*"]
)
def test_a_member_that_no_table_maps_is_meant_by_its_own_name(line: str, name: str):
    event = event_of(
        {"fields": {name: "mask"}}, line, {"x": "y"}, {"user.favourite": NAME} if name == "user.*" else None
    )
    assert NAME not in json.dumps(event)


def test_metadata_that_tell_a_field_pass_its_policy_once():
    policy = {"actions": {"ipv4": "keep"}, "fields": {"user.id": {"range": 10}, "labels.user_id": {"range": 10}}}
    event = event_of(policy, "text", None, {"user_id": "34"})
    assert event["user.id"] == event["loki.structured_metadata"]["user_id"] == "30-39"


def test_a_cut_label_is_looked_at_again():
    event = event_of({"fields": {"labels.ref": {"truncate": 16}}}, "text", {"ref": "4111111111111111999"})
    assert event["loki.labels"]["ref"] == "[redacted-card]"


def test_a_label_is_taken_out_of_the_line_too():
    event = event_of({"fields": {"labels.owner": "drop_field"}}, f"plain text of {NAME}", {"owner": NAME})
    assert event["loki.labels"] == {}
    assert event["message"] == "plain text of [redacted-labels-owner]"


def test_a_value_in_another_spelling_withholds_the_line():
    line = '{"user":"zebul\\u006fn","msg":"m"}'
    event = event_of({"fields": {"user.name": "mask"}}, line, original="always")
    assert event["event.original"] == "[redacted-text]"


def test_words_are_replaced_not_parts_of_words():
    event = event_of({"fields": {"user.name": "mask"}}, 'user=ann msg="ann has annual tokens, ann."')
    assert event["message"] == "[redacted-user-name] has annual tokens, [redacted-user-name]."


def test_short_values_stay_in_texts_but_withhold_the_line():
    event = event_of({"fields": {"unmapped.n": "drop_field"}}, '{"n":7,"msg":"7 of 7"}', original="always")
    assert event["message"] == "7 of 7"
    assert event["event.original"] == "[redacted-text]"
    assert "unmapped" not in event


def test_exact_names_win_over_wildcards_and_the_longer_wildcard_over_the_shorter():
    policy = {
        "fields": {
            "unmapped.a.*": "mask",
            "unmapped.a.b.*": {"truncate": 1},
            "unmapped.a.b.c": "keep",
            "unmapped.d": "keep",
        }
    }
    event = event_of(policy, '{"a":{"x":"xxx","b":{"c":"ccc","e":"eee"}},"d":{"x":"ddd"}}')
    assert event["unmapped"] == {"a": {"x": "[redacted-unmapped-a]", "b": {"c": "ccc", "e": "e"}}, "d": {"x": "ddd"}}


def test_an_allow_list_lets_nothing_else_out():
    policy = {"allow_fields": ["message", "unmapped.ok", "labels.job"]}
    line = f'{{"msg":"m {NAME}","user":"{NAME}","ok":{{"deep":1}},"other":{{"a":["{NAME}"]}},"level":"info"}}'
    event = event_of(policy, line, {"job": "shop", "pod": NAME}, {"trace_id": NAME}, original="always")
    assert NAME not in json.dumps(event)
    assert event["unmapped"] == {"ok": {"deep": 1}}
    assert event["loki.labels"] == {"job": "shop"}
    assert event["loki.structured_metadata"] == {}
    assert event["severity.text"] == "info"
    assert "event.original" not in event
    masked = event_of(policy | {"other_fields": "mask"}, line, {"job": "shop"})
    assert masked["user.name"] == "[redacted-field]"


def test_drop_event_by_field():
    pipeline = policy_pipeline({"fields": {"user.name": "drop_event", "labels.team": "drop_event"}})
    out = pipeline.process(batch_of(stream_of(["user=a1 x=1", "x=2 y=3", '{"user":"b"}'], {"team": "s"})))
    assert (out.counts["out"], out.counts["dropped"], out.counts["held"]) == (1, 2, 0)
    (event,) = events_of(out)
    assert event["loki.labels"] == {"team": "[redacted-labels-team]"}


def test_a_mark_of_a_rule_is_not_replaced_again():
    policy = {"actions": {"email": "pseudonym"}, "fields": {"user.name": "pseudonym"}}
    event = event_of(policy, "user=anna@example.com msg=hi")
    assert event["user.name"].startswith("[redacted-email-")


def test_what_is_no_text():
    policy = {"fields": {"unmapped.*": "mask"}}
    event = event_of(
        policy, '{"i":12345,"f":1.5,"t":true,"n":null,"e":"","o":{},"l":[],"big":123456789012345678901234567890}'
    )
    mask = "[redacted-unmapped]"
    assert event["unmapped"] == {
        "i": mask,
        "f": mask,
        "t": True,
        "n": None,
        "e": "",
        "o": {},
        "l": [],
        "big": mask,
    }


def test_http_headers_below_unmapped_can_be_dropped_whole():
    event = event_of(
        {"fields": {"unmapped.headers": "drop_field"}}, f'{{"headers":{{"a":"{NAME}","b":[1]}},"m":"{NAME}"}}'
    )
    assert event["unmapped"] == {"m": "[redacted-unmapped-headers]"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["user", "username", "a", "b.c", "msg"]), inner, max_size=3), max_leaves=12
)  # fmt: skip
ALL_OF_IT = policy_pipeline(
    {"fields": {"user.name": "pseudonym", "unmapped.a": "drop_field", "unmapped.b.*": "mask"}}, original="always"
)
ALLOW = policy_pipeline({"allow_fields": ["message"]}, original="always")


@settings(max_examples=120)
@given(st.dictionaries(st.sampled_from(["user", "username", "a", "b", "msg", "x"]), json_values, max_size=5))
def test_any_object_goes_through(value: dict[str, Any]):
    line = json.dumps(value)
    for pipeline in (ALL_OF_IT, ALLOW):
        out = pipeline.process(batch_of(stream_of([line])))
        assert out.counts["held"] == 0
        for event in events_of(out):
            assert "a" not in event.get("unmapped", {})
            user = event.get("user.name")
            assert user is None or not isinstance(user, str) or user == "" or "[redacted-" in user or pipeline is ALLOW
