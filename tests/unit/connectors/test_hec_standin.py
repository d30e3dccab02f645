"""The stand-in is as strict as Splunk 10.4 was measured to be."""

from __future__ import annotations

import zlib

import httpx
import pytest

from exporter.sandbox.hec import Fault, StandInHec
from tests.support.events import events

PATH = "/services/collector/event"


@pytest.fixture
async def hec():
    server = StandInHec("t", indexes=["main", "other"], max_content_length=10_000, keep_events=True)
    await server.start()
    yield server
    await server.stop()


async def post(hec, body, *, path=PATH, token="Splunk t", headers=None, method="POST"):
    async with httpx.AsyncClient(trust_env=False) as client:
        authorization = {"Authorization": token} if token else {}
        return await client.request(method, hec.url + path, content=body, headers={**authorization, **(headers or {})})


def verdict(answer):
    found = answer.json()
    return answer.status_code, found["code"], found.get("invalid-event-number")


@pytest.mark.parametrize(
    ("body", "expected", "stored"),
    [
        (b'{"event":"a"}{"event":"b"} \n {"event":"c"}', (200, 0, None), 3),
        (b'[{"event":"a"},{"event":"b"}]', (200, 0, None), 2),
        (b'{"event":{}}{"event":[]}{"event":0}', (200, 0, None), 3),
        (b"", (400, 5, None), 0),
        (b" \n ", (400, 5, None), 0),
        (b'{"event":"a"}\n{"event":"b","surprise":1}\n{"event":"c"}', (200, 0, None), 1),
        (b'{"event":"b","surprise":1}\n{"event":"c"}', (400, 5, None), 0),
        (b'{"event":"a"}\n{"fields":{"x":1}}\n{"event":"c"}', (200, 0, None), 2),
        (b'{"event":"a"}\n{oops\n{"event":"c"}', (400, 6, 1), 1),
        (b'{"event":"a"}\n{"event":null}', (400, 6, 1), 1),
        (b'{"event":"a"}\n{"event":false}', (400, 6, 1), 1),
        (b'{"event":"a"}\n{"event":" "}\n{"event":"c"}', (400, 13, 1), 1),
        (b'{"event":"a"}\n{"time":1}', (400, 12, 1), 1),
        (b'{"event":"a"}\n{"event":"b","fields":{"x":{"y":1}}}', (400, 15, 1), 1),
        (b'{"event":"a","fields":{"x":["1","2"]}}', (200, 0, None), 1),
        (b'{"event":"a","time":"1.5"}\n{"event":"b","time":"noon"}', (400, 15, 1), 1),
        (b'{"event":"a","index":"main"}\n{"event":"b","index":"no"}\n{"event":"c"}', (400, 7, 2), 1),
        (b'{"event":"a","index":"no"}', (400, 7, 1), 0),
    ],
)
async def test_envelopes(hec, body, expected, stored):
    assert verdict(await post(hec, body)) == expected
    assert len(hec.events) == hec.stats.accepted == stored


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (None, (401, 2)),
        ("Bearer t", (401, 3)),
        ("Splunk no", (403, 4)),
        ("Splunk t", (200, 0)),
        ("Splunk off", (403, 1)),
    ],
)
async def test_tokens(hec, token, expected):
    hec.disabled_tokens.add("off")
    assert verdict(await post(hec, b'{"event":"a"}', token=token))[:2] == expected


async def test_tokens_in_the_address_and_channels(hec):
    assert verdict(await post(hec, b'{"event":"a"}', path=PATH + "?token=t"))[:2] == (400, 16)
    hec.use_ack = True
    assert verdict(await post(hec, b'{"event":"a"}'))[:2] == (400, 10)
    channel = {"X-Splunk-Request-Channel": "0aeeac95-ac74-4aa9-b30d-6c4c0ac581ba"}
    assert verdict(await post(hec, b'{"event":"a"}', headers=channel))[:2] == (200, 0)


async def test_health_ignores_the_token_and_other_places_do_not_exist(hec):
    assert verdict(await post(hec, b"", path="/services/collector/health", method="GET", token=None))[:2] == (200, 17)
    assert (await post(hec, b"", path="/nowhere")).status_code == 404
    assert (await post(hec, b"", method="GET")).status_code == 405
    assert (await post(hec, b"", method="OPTIONS", token=None)).status_code == 200


async def test_codings_and_size_are_answered_in_html(hec):
    deflated = await post(hec, zlib.compress(b'{"event":"a"}'), headers={"Content-Encoding": "deflate"})
    large = await post(hec, b'{"event":"%b"}' % (b"a" * 10_000))
    broken = await post(hec, b"no gzip", headers={"Content-Encoding": "gzip"})
    assert [a.status_code for a in (deflated, large, broken)] == [415, 413, 400]
    assert all("html" in a.headers["content-type"] for a in (deflated, large, broken))
    assert not hec.events


async def test_faults(hec):
    hec.faults += [Fault(code=9, event=1), Fault(code=7, event=1), Fault(store=True, cut=True), Fault(status=500)]
    two = b'{"event":"a"}{"event":"b"}'
    assert verdict(await post(hec, two)) == (503, 9, 1)
    assert verdict(await post(hec, two)) == (400, 7, 2)
    with pytest.raises(httpx.RemoteProtocolError):
        await post(hec, two)
    assert (await post(hec, two)).status_code == 500
    assert len(hec.events) == 1 + 1 + 2


async def test_control_over_http_and_the_fast_mode(hec, tmp_path):
    body = [{"code": 9, "retry_after": "3"}]
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.post(hec.url + "/sandbox/faults", json=body)).json() == {"waiting": 1}
        answer = await post(hec, b'{"event":"a"}')
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
        assert (await client.get(hec.url + "/sandbox/stats")).json()["answers"] == {"9": 1}
    hec.fast, hec.max_content_length = True, 10**6
    lines = b"".join(b'{"time":1.000000,"event":' + e + b"}\n" for e in events(100))
    assert verdict(await post(hec, lines)) == (200, 0, None)
    assert verdict(await post(hec, lines[:-1])) == (400, 6, 0)
    assert hec.stats.accepted == 100
