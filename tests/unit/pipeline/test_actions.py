"""What each action leaves, and that nothing it leaves is data for a rule again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import ConfigurationError
from exporter.pipeline.redact import actions as act
from exporter.pipeline.redact.engine import Redactor
from exporter.pipeline.redact.policy import SampleTokens, build_action
from exporter.pipeline.redact.rules import load_rules
from exporter.settings.policy import SHIPPED, ActionChoice
from tests.support.pipelines import batch_of, events_of, settings_of, stream_of
from tests.support.pseudonyms import policy_pipeline

LINE = "mail Anna@Example.com from 10.1.2.3, 2001:db8:85a3:8d3:1319:8a2e:370:7348 card 4111 1111 1111 1111"


def action(name: str, argument: Any = None, field: str = "x", *, is_rule: bool = False) -> act.Action:
    return build_action(ActionChoice(name, argument), field, "x", SampleTokens(), is_rule=is_rule)


@pytest.mark.parametrize(
    ("made", "text", "left"),
    [
        (action("mask"), "abc", "[redacted-x]"),
        (action("partial", 4), "4111-1111 1111 1234", "[redacted-x-1234]"),
        (action("partial", 4), "DE89370400440532013000", "[redacted-x-3000]"),
        (action("partial", 4), "short", "[redacted-x]"),
        (action("partial", "domain"), "a.b@example.com", "[redacted-x]@example.com"),
        (action("partial", "domain"), "a%40example.com", "[redacted-x]%40example.com"),
        (action("partial", "domain"), "nothing", "[redacted-x]"),
        (action("truncate", 3), "abcdef", "abc"),
        (action("truncate", 3), "äöüß", "äöü"),
        (action("generalise", 24), "10.1.2.3", "10.1.2.x"),
        (action("generalise", 16), "10.1.2.3", "10.1.x"),
        (action("generalise", 24), "2001:db8:85a3::1%eth0", "2001:db8:85a3:x"),
        (action("generalise", 24), "::ffff:10.1.2.3", "10.1.2.x"),
        (action("generalise", 24), "no address", "[redacted-x]"),
        (action("generalise", "hour"), "2026-11-24T14:53:01.5+02:00", "2026-11-24T12Z"),
        (action("generalise", "day"), "1764000000000", "2025-11-24"),
        (action("generalise", "day"), "12345", "[redacted-x]"),
        (action("generalise", "hour"), "no time", "[redacted-x]"),
        (action("range", 10), "34", "30-39"),
        (action("range", 100), "1234.56", "1200-1299"),
        (action("range", 100), "-5", "[redacted-x]"),
        (action("pseudonym"), "anna", "[redacted-x-bcdfghjklmnpqrst]"),
        (action("ip_prefix"), "10.1.2.3", "[redacted-ip-bcdfghjk]"),
        (action("ip_token"), "elsewhere", "[redacted-x]"),
        (action("keep"), "abc", "abc"),
    ],
)
def test_what_is_left(made: act.Action, text: str, left: str):
    assert (made.fixed or made.replace(text.encode())).decode() == left


@given(st.text(max_size=80))
def test_actions_take_any_text(text: str):
    for name, argument in [("partial", 4), ("generalise", 24), ("generalise", "day"), ("range", 10), ("truncate", 5)]:
        action(name, argument).replace(text.encode("utf-8", "replace"))


@given(
    st.sampled_from(["partial", "generalise", "day", "hour", "range", "truncate", "domain"]),
    st.one_of(
        st.text(max_size=40),
        st.ip_addresses().map(str),
        st.integers(0, 10**20).map(str),
        st.datetimes().map(lambda time: time.isoformat()),
        st.emails(),
    ),
)
def test_done_twice_is_done_once(name: str, text: str):
    choice = {"day": ("generalise", "day"), "hour": ("generalise", "hour"), "domain": ("partial", "domain")}.get(name)
    made = action(*(choice or (name, 24 if name == "generalise" else 10 if name == "range" else 4)))
    once = made.replace(text.encode("utf-8", "replace"))
    assert act.is_mark(once) or made.replace(once) == once


POLICIES: list[Any] = [
    *SHIPPED,
    {"actions": {"email": {"partial": "domain"}, "ipv4": {"generalise": 24}, "ipv6": {"generalise": 48}}},
    {"actions": {"email": "pseudonym", "ipv4": "ip_token", "ipv6": "ip_prefix", "card": {"partial": 4}}},
    {"actions": {"ipv4": {"generalise": 8}, "ipv6": {"generalise": 16}, "card": "pseudonym", "iban": "pseudonym"}},
]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_nothing_is_found_in_what_a_policy_leaves(policy: Any):
    pipeline = policy_pipeline(policy)
    rules, _, _ = load_rules(("eu-pii", "secrets"), "")
    strict = Redactor(rules)

    @settings(max_examples=40)
    @given(
        st.lists(st.sampled_from([*LINE.split(), "a=", '"k":"', '"', ",", "DE89370400440532013000", "x"]), max_size=9)
    )
    def check(words: list[str]) -> None:
        for glue in (" ", ""):
            (left,) = pipeline.redact_lines([glue.join(words)])
            assert not strict.has_hit(left)

    check()


def test_actions_of_rules_reach_every_place_of_an_event():
    line = '{"msg":"by Anna@Example.com","ip":"10.1.2.3","pan":4111111111111111,"a\\u0040b.example":1}'
    pipeline = policy_pipeline({"actions": {"email": "pseudonym", "ipv4": {"generalise": 24}, "card": {"partial": 4}}})
    out = pipeline.process(batch_of(stream_of([line], {"owner": "anna@example.com"})))
    (event,) = events_of(out)
    token = event["message"].removeprefix("by ")
    assert token.startswith("[redacted-email-")
    assert event["loki.labels"]["owner"] == token
    assert event["unmapped"]["ip"] == "10.1.2.x"
    assert event["unmapped"]["pan"] == "[redacted-card-1111]"
    assert out.redactions["card"] >= 1


def test_keep_leaves_what_a_rule_finds():
    pipeline = policy_pipeline({"actions": {"ipv4": "keep"}})
    (left,) = pipeline.redact_lines(["10.1.2.3 a@b.example"])
    assert left == "10.1.2.3 [redacted-email]"


def test_drop_event_by_rule_is_counted_and_not_held():
    pipeline = policy_pipeline({"actions": {"card": "drop_event"}})
    out = pipeline.process(batch_of(stream_of(["one", "card 4111111111111111", "three"])))
    assert [e["message"] for e in events_of(out)] == ["one", "three"]
    assert (out.counts["out"], out.counts["held"], out.counts["dropped"]) == (2, 0, 1)
    assert len(out.keys) == 2


@pytest.mark.parametrize(
    "line",
    ['{"pan":4111111111111111}', '{"a":"x\\u0040y.example"}', '{"m":"a@b.example"}', "a%40b.example", "k=a@b.example"],
)
def test_drop_event_wherever_the_rule_finds_it(line: str):
    pipeline = policy_pipeline({"actions": {"card": "drop_event", "email": "drop_event"}})
    out = pipeline.process(batch_of(stream_of([line, "other"])))
    assert [e["message"] for e in events_of(out)] == ["other"]
    assert (out.counts["held"], out.counts["dropped"]) == (0, 1)


def findings(policy: Any) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        policy_pipeline(policy)
    return {f.path.removeprefix("tenants.acme.policy."): f"{f.reason}. {f.cure}" for f in caught.value.findings}


def test_all_faults_of_a_policy_at_once():
    found = findings(
        {
            "actions": {"emial": "mask", "email": "ip_prefix", "card": {"truncate": 4}, "ipv4": {"generalise": 48}},
            "fields": {"a b": "mask", "source.ip": {"generalise": 24}, "user.name": {"generalise": 32}},
        }
    )
    assert set(found) == {
        *("actions.emial", "actions.email", "actions.card", "actions.ipv4"),
        *("fields.a b", "fields.source.ip", "fields.user.name"),
    }
    assert "Did you mean email?" in found["actions.emial"]
    assert "before there are fields" in found["fields.source.ip"]


def test_a_policy_id_tells_policies_apart_and_stays_for_the_default():
    ids = [policy_pipeline(p).policy_id for p in ({}, "ops", {"fields": {"user.name": "mask"}}, "security")]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_without_a_store_an_event_is_held_rather_than_badly_pseudonymised():
    from exporter.pipeline import compile_pipeline  # noqa: PLC0415

    pipeline = compile_pipeline("acme", settings_of(policy={"actions": {"email": "pseudonym", "ipv4": "ip_prefix"}}))
    out = pipeline.process(batch_of(stream_of(["fine", "a@b.example", "10.1.2.3"])))
    assert [e["message"] for e in events_of(out)] == ["fine"]
    assert len(out.held_ids) == 2
