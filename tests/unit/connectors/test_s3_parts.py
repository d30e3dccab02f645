"""S3 target: settings, names, bytes, shelves, meanings of answers."""

from __future__ import annotations

import gzip
import re

import pytest
from botocore import exceptions as sdk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors import base
from connectors.base import REDRIVE_PARTITION, Record
from connectors.s3.answers import ConditionRefused, ObjectExists, answer_error, sdk_error
from connectors.s3.encode import NotAnObject, decode, encode, group
from connectors.s3.names import HOUR_NS, Lane, Layout, lane_prefix, object_key, parse_key
from connectors.s3.settings import S3Settings
from connectors.s3.shelf import Known, Shelf
from connectors.testing import MARK
from exporter.domain.events import encode_head
from tests.support.events import events

DEFAULT = "{tenant}/dt={date}/hour={hour}/"


def settings_of(**keys):
    return S3Settings(**{"kind": "s3", "bucket": "archive", **keys})


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("logs/", "must have {tenant} once"),
        ("{tenant}/{tenant}/", "must have {tenant} once"),
        ("{tenant}/{kind}/", "may only have"),
        ("{tenant}/{0}/", "may only have"),
        ("{tenant.__class__}/", "may only have"),
        ("{tenant!r}/", "may only have"),
        ("{tenant:>9}/", "may only have"),
        ("{tenant}/{hour}/", "needs {date}"),
        ("{tenant}/{year}/{day}/", "go together"),
        ("{tenant}/{year/", "braces"),
        ("/{tenant}/", "must not begin with /"),
        ("{tenant}//x/", "empty"),
        ("{tenant}/../x", ".. part"),
        ("{tenant}/a b/", "letters, digits"),
        ("{tenant}/a+b/", "letters, digits"),
        ("{tenant}/é/", "letters, digits"),
    ],
)
def test_prefixes_that_are_refused(prefix, words):
    with pytest.raises(ValidationError, match=re.escape(words)):
        settings_of(prefix=prefix)


@pytest.mark.parametrize(
    "keys",
    [
        {"bucket": "Upper"},
        {"bucket": "a/b"},
        {"access_key_id": "AKIA"},
        {"secret_access_key_file": "file"},
        {"session_token_file": "file"},
        {"object_lock": {}},
        {"object_lock": {"mode": "COMPLIANCE"}},
        {"object_lock": {"retain_days": 3}},
        {"object_lock": {"mode": "compliance", "retain_days": 3}},
        {"storage_class": "DEEP_ARCHIVE"},
        {"tags": {"aws:x": "1"}},
        {"tags": {"": "1"}},
        {"tags": {str(i): "1" for i in range(11)}},
        {"endpoint_url": "http://user:pass@host"},
        {"expected_bucket_owner": "me"},
        {"conditional_writes": "off"},
        {"unknown": 1},
    ],
)
def test_settings_that_are_refused(keys):
    with pytest.raises(ValidationError):
        settings_of(**keys)


def test_a_prefix_gets_its_slash():
    assert settings_of(prefix="logs/{tenant}").prefix == "logs/{tenant}/"
    assert settings_of().prefix == DEFAULT


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_key_says_tenant_hour_of_the_event_partition_and_first_offset():
    lane, layout = Lane.of("acme", 3), Layout("siem/" + DEFAULT)
    path = layout.path(lane, layout.slot_of(1_764_000_000_123_456_789))
    assert path == "siem/acme/dt=2025-11-24/hour=16/"
    key = object_key(lane_prefix(path, lane), 42)
    assert key == path + "acme-3-00000000000000000042.ndjson.gz"


def test_partitions_of_a_day_and_none():
    lane = Lane.of("acme", 0)
    daily, plain = Layout("{tenant}/{year}/{month}/{day}/"), Layout("{tenant}/")
    assert daily.path(lane, daily.slot_of(-1)) == "acme/1969/12/31/"
    assert plain.path(lane, plain.slot_of(10**30)) == "acme/"


def test_no_tenant_leaves_its_place():
    names = {Lane.of(tenant, 0).tenant for tenant in ("a", ".", "..", "a/b", "a b", "a%2Fb", "A", "ä")}
    assert len(names) == 8
    assert not any("/" in name or " " in name or name in {".", ".."} for name in names)


@given(
    tenant=st.text("a0-.", min_size=1, max_size=8), other=st.text("a0-.", min_size=1, max_size=8),
    partition=st.integers(-1, 99), first=st.integers(0, 2**63), last=st.none() | st.integers(0, 2**63),
    event_id=st.sampled_from(["", "0" * 32]), path=st.sampled_from(["", "x/"]), number=st.integers(-1, 99),
)  # fmt: skip
def test_keys_are_read_back_and_belong_to_one_lane(tenant, other, partition, first, last, event_id, path, number):
    lane, foreign = Lane.of(tenant, partition), Lane.of(other, number)
    prefix = lane_prefix(path, lane)
    key = object_key(prefix, first, last=last, event_id=event_id)
    assert parse_key(prefix, key) == first
    if foreign != lane:
        assert parse_key(lane_prefix(path, foreign), key) is None


@pytest.mark.parametrize(
    "rest", ["", "1.ndjson.gz", "x" * 20 + ".ndjson.gz", "0" * 20 + ".json", "0" * 20 + ".ndjson.gz.tmp"]
)
def test_foreign_keys_are_not_taken_for_ours(rest):
    assert parse_key("t/acme-0-", "t/acme-0-" + rest) is None
    assert Lane.of("t", REDRIVE_PARTITION) == Lane("t", "redrive")


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_an_object_is_the_same_bytes_each_time_and_plain_gzip():
    body = encode([b"{1}", b"{2}"])
    assert body == encode([b"{1}", b"{2}"])
    assert gzip.decompress(body) == b"{1}\n{2}\n"
    assert decode(body) == [b"{1}", b"{2}"]


@pytest.mark.parametrize(
    "body",
    [b"", b"plain", encode([b"{}"])[:-1], encode([b"{}"])[:12], encode([b"{}"]) + b"x", gzip.compress(b"no line feed", mtime=0), gzip.compress(b"", mtime=0)],
)  # fmt: skip
def test_damaged_objects_are_told(body):
    with pytest.raises(NotAnObject):
        decode(body)


def test_one_flipped_bit_is_told():
    body = bytearray(encode(events(50)))
    body[len(body) // 2] ^= 4
    with pytest.raises(NotAnObject):
        decode(bytes(body))


@settings(max_examples=200)
@given(
    times=st.lists(
        st.one_of(
            st.integers(-(2**63), 2**63), st.integers(0, 3).map(lambda h: 1_764_000_000_000_000_000 + h * HOUR_NS)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_every_event_gets_the_path_of_its_own_time(times):
    lane, layout = Lane.of("acme", 0), Layout(DEFAULT)
    records = [Record(i, b"", encode_head(f"{i:032x}", t) + b'"m":1}') for i, t in enumerate(times)]
    groups, rejected = group(records, lane, layout)
    assert not rejected
    assert {i: path for path, indices in groups.items() for i in indices} == {
        i: layout.path(lane, t // HOUR_NS) for i, t in enumerate(times)
    }


def test_what_cannot_be_a_line_is_refused_alone():
    good = events(3)
    far = encode_head("0" * 32, 10**22) + b'"m":1}'
    bad = [b"", b"{}", b"x" * 100, good[0][:-1] + b"\n}", far, good[0][:60].replace(b'"time"', b'"tame"')]
    records = [Record(i, b"", value) for i, value in enumerate([*bad, *good])]
    groups, rejected = group(records, Lane.of("acme", 0), Layout(DEFAULT))
    assert sorted(r.index for r in rejected) == list(range(len(bad)))
    assert list(groups.values()) == [[6, 7, 8]]
    assert MARK not in repr(rejected)


# --- shelves ----------------------------------------------------------------------------------------------------------


def test_a_shelf_forgets_what_lies_behind_and_says_so():
    shelf = Shelf()
    shelf.listed((first, f"k{first:04d}") for first in range(0, 200, 10))
    assert shelf.may_hold(55) == Known(50, "k0050")
    assert shelf.next_first(55) == 60
    shelf.prune(195)
    assert shelf.objects[0].first == shelf.floor == 120
    assert not shelf.needs_listing(120)
    assert shelf.needs_listing(119)
    assert shelf.listing_after(195) == "k0190"
    assert shelf.listing_after(119) == ""
    assert not shelf.objects


def test_foreign_objects_hide_nothing():
    shelf = Shelf()
    shelf.listed([(0, "a"), (5, "b"), (9, "c")])
    shelf.find("b").foreign = True
    assert shelf.may_hold(6) is shelf.find("a")
    assert shelf.next_first(0) == 9
    shelf.find("a").end = 3
    assert shelf.may_hold(6) is None


# --- answers ----------------------------------------------------------------------------------------------------------


def client_error(status, code, message=f"<html>{MARK}", **headers):
    return sdk.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers}},
        "PutObject",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (412, "PreconditionFailed", ObjectExists, ""),
        (200, "PreconditionFailed", ObjectExists, ""),
        (501, "NotImplemented", ConditionRefused, ""),
        (409, "ConditionalRequestConflict", base.TargetUnavailable, ""),
        (403, "AccessDenied", base.TargetMisconfigured, "allow s3:PutObject"),
        (403, "403", base.TargetMisconfigured, "allow s3:PutObject"),
        (403, "InvalidAccessKeyId", base.TargetUnauthorized, "access_key_id"),
        (403, "SignatureDoesNotMatch", base.TargetUnauthorized, "secret"),
        (400, "ExpiredToken", base.TargetUnauthorized, "expired"),
        (403, "RequestTimeTooSkewed", base.TargetMisconfigured, "clock"),
        (404, "NoSuchBucket", base.TargetMisconfigured, "create the bucket"),
        (301, "PermanentRedirect", base.TargetMisconfigured, "region"),
        (400, "AuthorizationHeaderMalformed", base.TargetMisconfigured, "region"),
        (503, "SlowDown", base.TargetThrottled, ""),
        (429, "429", base.TargetThrottled, ""),
        (503, "503", base.TargetThrottled, ""),
        (400, "KMS.ThrottlingException", base.TargetThrottled, ""),
        (400, "KMS.DisabledException", base.TargetMisconfigured, "KMS key"),
        (400, "KMS.NotFoundException", base.TargetMisconfigured, "KMS key"),
        (500, "InternalError", base.TargetUnavailable, ""),
        (502, "502", base.TargetUnavailable, ""),
        (200, "InternalError", base.TargetUnavailable, ""),
        (400, "BadDigest", base.TargetUnavailable, ""),
        (400, "XAmzContentSHA256Mismatch", base.TargetUnavailable, ""),
        (400, "RequestTimeout", base.TargetUnavailable, ""),
        (400, "EntityTooLarge", base.BatchTooLarge, ""),
        (413, "413", base.BatchTooLarge, ""),
        (507, "XMinioStorageFull", base.TargetUnavailable, "room"),
        (403, "QuotaExceeded", base.TargetUnavailable, "room"),
        (400, "InvalidRequest", base.TargetMisconfigured, "Object Lock"),
        (403, "InvalidObjectState", base.TargetMisconfigured, "lifecycle"),
        (400, "SomethingNew", base.TargetMisconfigured, "settings"),
        (400, f"<b>{MARK}</b>", base.TargetMisconfigured, "HTTP 400, 400"),
    ],
)  # fmt: skip
def test_what_answers_mean(status, code, kind, words):
    error = answer_error(client_error(status, code), "archive", "s3:PutObject, s3:PutObjectTagging")
    assert type(error) is kind
    assert words in str(error)
    assert MARK not in f"{error!s}{error!r}{getattr(error, 'code', '')}"


def test_the_missing_permission_is_named():
    message = "User: arn:aws:iam::1:role/x is not authorized to perform: s3:PutObjectTagging on resource: y because"
    error = answer_error(client_error(403, "AccessDenied", message), "archive", "s3:PutObject")
    assert str(error).endswith("allow s3:PutObjectTagging")


def test_retry_after_is_passed_on():
    assert answer_error(client_error(503, "SlowDown", **{"retry-after": "7"}), "b", "").retry_after_seconds == 7
    assert answer_error(client_error(503, "SlowDown", **{"retry-after": "soon"}), "b", "").retry_after_seconds is None


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (TimeoutError(), base.TargetUnavailable, "timeout"),
        (sdk.ReadTimeoutError(endpoint_url="x"), base.TargetUnavailable, "timeout"),
        (sdk.EndpointConnectionError(endpoint_url="x"), base.TargetUnavailable, "connection"),
        (sdk.SSLError(endpoint_url="x", error="y"), base.TargetMisconfigured, "tls"),
        (sdk.NoCredentialsError(), base.TargetUnauthorized, "no_credentials"),
        (sdk.CredentialRetrievalError(provider="x", error_msg="y"), base.TargetUnauthorized, "no_credentials"),
        (sdk.NoRegionError(), base.TargetMisconfigured, "no_region"),
        (sdk.ProfileNotFound(profile="x"), base.TargetMisconfigured, "sdk_settings"),
    ],
)
def test_what_errors_without_an_answer_mean(error, kind, code):
    meant = sdk_error(error, "archive")
    assert (type(meant), meant.code) == (kind, code)
