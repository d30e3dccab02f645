"""Behaviours of the stand-in that a real Loki shows only now and then: here they are scripted."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from exporter.domain.clock import ManualClock
from exporter.domain.ids import StreamHasher
from exporter.sandbox.loki import Fault, LokiLimits, StandInLoki
from tests.support.loki import SECOND, LokiUnderTest

HOUR = 3600 * SECOND
#: A quarter past an hour, so that an hour's border lies behind.
NOW = 1_760_000_400 * SECOND // HOUR * HOUR + HOUR // 4
JOB = {"job": "a"}
Make = Callable[..., "Cell"]


class Cell(LokiUnderTest):
    """A stand-in with a clock of its own, and the HTTP face of the contract tests."""

    stand_in: StandInLoki
    clock: ManualClock

    def put(self, labels: dict[str, str], entries: list, **options) -> None:
        result = self.stand_in.push(self.tenant, labels, entries, **options)
        assert result.errors == []


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=10))

        async def build(limits: LokiLimits | None = None, **options) -> Cell:
            clock = ManualClock(NOW)
            stand_in = StandInLoki(limits=limits or LokiLimits(), clock=clock, **options)
            await stand_in.start()

            async def end() -> None:
                await stand_in.stop()
                assert stand_in.server.failures == []

            stack.push_async_callback(end)
            cell = Cell(stand_in.url, True, False, lambda: None, client, "t")
            cell.stand_in, cell.clock = stand_in, clock
            return cell

        yield build


def numbered(count: int, start: int = NOW - SECOND, step: int = 1000, size: int = 0) -> list[tuple[int, str]]:
    return [(start + n * step, f"line {n} " + "x" * size) for n in range(count)]


# --- truncation, replicas, ties -----------------------------------------------------------------------------------------


async def test_a_gap_inside_a_page_is_lost_to_whoever_continues_from_its_last_line(make: Make) -> None:
    """Finding 2: the cut ingester leaves a gap, the other one fills the rest of the page."""
    cell = await make(LokiLimits(block_bytes=200), ingesters=2)
    one, two = _streams_on_different_ingesters(cell, 2)
    first = numbered(50, size=100)
    cell.put(one, first)
    cell.put(one, first)
    cell.put(one, numbered(100, size=100)[50:])
    cell.put(two, [(NOW - SECOND + 90_500, "beyond the gap")])
    start, end = NOW - SECOND, NOW
    page = await cell.lines(start, end, limit=60)
    times = {e[1] for e in page}
    assert max(times) == NOW - SECOND + 90_500
    assert NOW - SECOND + 60_000 not in times
    stats = (await cell.query_range(start, end, limit=60)).json()["data"]["stats"]["ingester"]
    assert stats["totalLinesSent"] == 61  # not below the limit: refused by who looks


def _streams_on_different_ingesters(cell: Cell, count: int) -> list[dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    for n in range(100):
        labels = {"job": f"s{n}"}
        found.setdefault(cell.stand_in.tenant(cell.tenant).stream(labels).owners[0], labels)
        if len(found) == count:
            break
    return list(found.values())


async def test_with_replicas_every_copy_counts_as_sent(make: Make) -> None:
    cell = await make(replication=3)
    cell.put(JOB, numbered(10))
    data = (await cell.query_range(NOW - SECOND, NOW)).json()["data"]
    assert data["stats"]["ingester"]["totalLinesSent"] == 30
    assert len(data["result"][0]["values"]) == 10
    assert await cell.count(NOW - 1, "1s") == 10


async def test_a_replica_that_missed_a_push_is_made_up_for_by_the_others(make: Make) -> None:
    cell = await make(replication=3)
    cell.put(JOB, numbered(5), replicas=[0, 1])
    cell.put(JOB, numbered(5, NOW - SECOND // 2), replicas=[2])
    assert len(await cell.lines(NOW - SECOND, NOW)) == 10
    assert await cell.count(NOW - 1, "1s") == 10


async def test_ties_at_the_cut_differ_between_equal_calls(make: Make) -> None:
    cell = await make()
    for job in "abcdef":
        cell.put({"job": job}, [(NOW - SECOND, f"{job}{n}") for n in range(4)])
    seen = {tuple(sorted(e[2] for e in await cell.lines(NOW - SECOND, NOW, limit=5))) for _ in range(12)}
    assert len(seen) > 1


# --- counts and lines ---------------------------------------------------------------------------------------------------


async def test_counts_exceed_lines_and_change_by_a_flush_without_new_data(make: Make) -> None:
    cell = await make(LokiLimits(block_bytes=1000))
    entries = numbered(50, size=100)
    for _ in range(2):
        cell.put(JOB, entries)
    before = await cell.count(NOW - 1, "1s")
    cell.stand_in.flush()
    after = await cell.count(NOW - 1, "1s")
    assert before > after >= 50
    assert len(await cell.lines(NOW - SECOND, NOW)) == 50 == len(cell.stand_in.truth("t"))


async def test_counts_fall_below_lines_when_sources_hold_equal_lines(make: Make) -> None:
    """Samples are compared by time and line alone, across sources."""
    cell = await make(ingesters=2)
    for labels in _streams_on_different_ingesters(cell, 2):
        cell.put(labels, [(NOW - SECOND, "the same line")])
    assert len(await cell.lines(NOW - SECOND, NOW)) == 2
    assert await cell.count(NOW - 1, "1s") == 1


async def test_metadata_tells_entries_apart_since_3_7_only(make: Make) -> None:
    entries = [(NOW - SECOND, "x", {"k": "1"}), (NOW - SECOND, "x", {"k": "2"})]
    for distinguishes, count in ((True, 2), (False, 1)):
        cell = await make(LokiLimits(metadata_distinguishes=distinguishes))
        cell.put(JOB, entries)
        assert len(await cell.lines(NOW - SECOND, NOW)) == count == len(cell.stand_in.truth("t"))


async def test_cells_are_counted_anew_after_a_late_push(make: Make) -> None:
    cell = await make()
    start = NOW - 10 * SECOND

    async def cells() -> dict[int, int]:
        answer = await cell.get(
            "/loki/api/v1/query_range",
            query=f'sum(count_over_time({{job=~".+", n{time.monotonic_ns()}=""}}[1s]))',
            start=start,
            end=NOW,
            step="1s",
        )
        found = answer.json()["data"]["result"]
        return {t: int(v) for t, v in found[0]["values"]} if found else {}

    assert await cells() == {}
    cell.put(JOB, [(start + 1, "a"), (NOW - SECOND, "b")])
    assert await cells() == {start // SECOND + 1: 1, NOW // SECOND - 1: 1}
    cell.put(JOB, [(start + 2, "late")])
    assert await cells() == {start // SECOND + 1: 2, NOW // SECOND - 1: 1}
    cell.put({"job": "new"}, [(start, "in the second before")])
    assert await cells() == {start // SECOND: 1, start // SECOND + 1: 2, NOW // SECOND - 1: 1}


async def test_range_counts_are_moved_to_multiples_of_the_step(make: Make) -> None:
    cell = await make()
    cell.put(JOB, [(NOW - 5 * SECOND, "x")])
    params = {"query": 'sum(count_over_time({job="a"}[1s]))', "step": "1s"}  # fmt: skip
    shifted = await cell.get(
        "/loki/api/v1/query_range", start=NOW - 10 * SECOND + 1, end=NOW - 2 * SECOND + 1, **params
    )
    assert shifted.json()["data"]["result"][0]["values"] == [[NOW // SECOND - 5, "1"]]
    offset = {**params, "query": 'sum(count_over_time({job="a"}[1s] offset 1ns))'}
    answer = await cell.get("/loki/api/v1/query_range", start=NOW - 10 * SECOND, end=NOW, **offset)
    assert answer.json()["data"]["result"] == []


async def test_counts_by_stream_have_a_limit(make: Make) -> None:
    cell = await make(LokiLimits(max_query_series=2))
    for n in range(3):
        cell.put({"job": f"{n}"}, [(NOW - SECOND, "x")])
    single = await cell.get("/loki/api/v1/query", query='count_over_time({job="1"}[5s])', time=NOW)
    assert [s["metric"] for s in single.json()["data"]["result"]] == [{"job": "1"}]
    all_ = await cell.get("/loki/api/v1/query", query='count_over_time({job=~".+"}[5s])', time=NOW)
    assert (all_.status_code, "maximum number of series" in all_.text) == (400, True)


# --- visibility ---------------------------------------------------------------------------------------------------------


async def test_hidden_hours_are_judged_one_by_one(make: Make) -> None:
    cell = await make()
    border = (NOW - 3 * HOUR) // HOUR * HOUR + HOUR  # the hour before ends within three hours of now
    cell.put(JOB, [(border - HOUR - 1, "hidden"), (border - 1, "seen")])
    assert [e[2] for e in await cell.lines(NOW - 5 * HOUR, NOW)] == ["seen"]
    assert await cell.lines(border - HOUR, border - HOUR // 2) == []  # the same hour asked by a part
    cell.stand_in.flush()
    assert len(await cell.lines(NOW - 5 * HOUR, NOW)) == 2


async def test_the_lookback_is_clamped_silently(make: Make) -> None:
    cell = await make(LokiLimits(max_query_lookback_seconds=60))
    cell.put(JOB, [(NOW - 61 * SECOND, "too far back"), (NOW - 59 * SECOND, "seen")])
    answer = await cell.query_range(NOW - HOUR, NOW)
    assert answer.status_code == 200
    assert [e[2] for e in await cell.lines(NOW - HOUR, NOW)] == ["seen"]


async def test_retention_shrinks_a_window_between_two_reads(make: Make) -> None:
    cell = await make(LokiLimits(retention_seconds=60))
    cell.put(JOB, [(NOW - 30 * SECOND, "x")])
    assert len(await cell.lines(NOW - HOUR, NOW)) == 1
    cell.clock.advance(31)
    assert await cell.lines(NOW - HOUR, NOW) == []
    cell.stand_in.tenant("t").trim(NOW)
    assert all(not place.times for s in cell.stand_in.tenant("t").streams for place in s.places())


async def test_deletes_take_effect_after_a_while(make: Make) -> None:
    cell = await make(LokiLimits(delete_cache_seconds=300))
    cell.put(JOB, [(NOW - 2 * SECOND, "keep"), (NOW - SECOND, "delete me")])
    answer = await cell.client.post(
        f"{cell.url}/loki/api/v1/delete",
        params={"query": '{job="a"} |= "delete"', "start": NOW // SECOND - 60, "end": NOW // SECOND},
        headers={"X-Scope-OrgID": "t"},
    )
    assert answer.status_code == 204
    assert len(await cell.lines(NOW - HOUR, NOW)) == 2
    cell.clock.advance(301)
    assert [e[2] for e in await cell.lines(NOW - HOUR, NOW)] == ["keep"]
    assert await cell.count(NOW - 1, "1m") == 1
    assert len((await cell.get("/loki/api/v1/delete")).json()) == 1


# --- caches -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("obeyed", [True, False])
async def test_empty_answers_outlive_the_arrival_of_late_lines(make: Make, obeyed: bool) -> None:
    cell = await make(LokiLimits(cache_results=True, obey_no_cache=obeyed))
    start = NOW - HOUR
    filtered = '{job="a"} |= "x"'
    assert await cell.lines(start, start + SECOND, filtered) == []
    assert await cell.lines(start, start + SECOND, '{job="a"}') == []
    cell.put(JOB, [(start, "x")])
    assert await cell.lines(start, start + SECOND, filtered) == []
    assert len(await cell.lines(start, start + SECOND, '{job="a"}')) == 1  # selectors alone are never cached
    assert len(await cell.lines(start, start + SECOND, '{job="a", nonce_1=""} |= "x"')) == 1
    answer = await cell.get(
        "/loki/api/v1/query_range", {"Cache-Control": "no-cache"}, query=filtered, start=start, end=start + SECOND
    )
    assert len(answer.json()["data"]["result"]) == (1 if obeyed else 0)


async def test_index_statistics_and_range_counts_are_cached_too(make: Make) -> None:
    cell = await make(LokiLimits(cache_results=True))
    start = NOW - HOUR
    window = {"start": start, "end": start + 2 * SECOND}

    async def entries(query: str = '{job="a"}') -> int:
        answer = await cell.get("/loki/api/v1/index/stats", {"Cache-Control": "no-cache"}, query=query, **window)
        return answer.json()["entries"]

    async def values() -> list:
        query = 'sum(count_over_time({job="a"}[1s]))'
        answer = await cell.get("/loki/api/v1/query_range", query=query, step="1s", **window)
        return answer.json()["data"]["result"]

    assert (await entries(), await values()) == (0, [])
    cell.put(JOB, [(start + 1, "x")])
    assert (await entries(), await values()) == (0, [])  # no-cache or not
    assert await entries('{job="a", nonce_1=""}') == 1


# --- faults -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "fragment"),
    [(429, "too many outstanding"), (500, "ResourceExhausted"), (413, "larger than the max"), (504, "timed out"),
     (502, "<html>"), (503, "")],
)  # fmt: skip
async def test_scripted_statuses_come_with_their_usual_text(make: Make, status: int, fragment: str) -> None:
    cell = await make()
    cell.stand_in.faults.next("query_range", 2, status=status)
    answers = [await cell.query_range(NOW - SECOND, NOW) for _ in range(3)]
    assert [a.status_code for a in answers] == [status, status, 200]
    assert fragment in answers[0].text
    assert "retry-after" not in answers[0].headers


async def test_transport_faults(make: Make) -> None:
    cell = await make()
    cell.put(JOB, numbered(100))
    faults = cell.stand_in.faults
    faults.next("query_range", close=True)
    with pytest.raises(httpx.TransportError):
        await cell.query_range(NOW - SECOND, NOW)
    faults.next("query_range", cut_after_bytes=50)
    with pytest.raises(httpx.RemoteProtocolError):
        await cell.query_range(NOW - SECOND, NOW)
    faults.next("query_range", body="<html>log in</html>", content_type="text/html")
    assert (await cell.query_range(NOW - SECOND, NOW)).text.startswith("<html>")
    faults.next("query_range", after=1, status=500)
    assert [(await cell.query_range(NOW - SECOND, NOW)).status_code for _ in range(3)] == [200, 500, 200]
    faults.next("query_range", -1, tenant="other", status=500)
    assert (await cell.query_range(NOW - SECOND, NOW)).status_code == 200
    assert faults.requests["query_range"] == 7


async def test_a_fault_can_be_narrowed_to_some_requests(make: Make) -> None:
    cell = await make()
    cell.stand_in.faults.add(Fault("query_range", -1, status=500), lambda r: r.first("direction") == "backward")
    assert (await cell.query_range(NOW - SECOND, NOW)).status_code == 200
    assert (await cell.query_range(NOW - SECOND, NOW, direction="backward")).status_code == 500
    cell.stand_in.faults.clear()
    assert (await cell.query_range(NOW - SECOND, NOW, direction="backward")).status_code == 200


async def test_a_lost_ingester_leaves_no_trace_but_the_count(make: Make) -> None:
    cell = await make(ingesters=2)
    one, two = _streams_on_different_ingesters(cell, 2)
    cell.put(one, numbered(10))
    cell.put(two, [(t + 1, line) for t, line in numbered(7)])
    lost = cell.stand_in.tenant("t").stream(one).owners[0]
    cell.stand_in.faults.next("query_range", lost_ingesters=(lost,))
    data = (await cell.query_range(NOW - SECOND, NOW)).json()
    assert sum(len(s["values"]) for s in data["data"]["result"]) == 7
    assert data["data"]["stats"]["ingester"]["totalLinesSent"] == 7
    assert "warnings" not in data
    assert await cell.count(NOW - 1, "1s") == 17
    assert len(await cell.lines(NOW - SECOND, NOW)) == 17


async def test_a_message_above_the_limit_is_lost_by_itself(make: Make) -> None:
    cell = await make(LokiLimits(ingester_message_bytes=50_000))
    cell.put(JOB, numbered(200, size=10))
    fat = [(NOW - SECOND // 2 + n, f"{n}" + "y" * 1000) for n in range(100)]
    cell.put(JOB, fat)
    found = await cell.lines(NOW - SECOND, NOW)
    assert len(found) == 128  # the first message came whole, the second one was too large
    assert await cell.count(NOW - 1, "1s") == 300
    single = await make(LokiLimits(ingester_message_bytes=50_000), mode="single")
    single.put(JOB, fat)
    assert (await single.query_range(NOW - SECOND, NOW)).status_code == 500


async def test_chunks_lost_once_and_for_good(make: Make) -> None:
    cell = await make()
    cell.put(JOB, numbered(10))
    cell.put({"job": "b"}, numbered(5))
    cell.stand_in.flush()
    cell.stand_in.faults.next("query_range", lost_chunks=1)
    assert len(await cell.lines(NOW - SECOND, NOW)) in {5, 10}
    assert len(await cell.lines(NOW - SECOND, NOW)) == 15
    assert cell.stand_in.lose_chunks("t") == 15
    assert await cell.lines(NOW - SECOND, NOW) == []
    assert len(cell.stand_in.truth("t")) == 15


async def test_warnings_and_missing_statistics(make: Make) -> None:
    cell = await make()
    cell.put(JOB, numbered(1))
    cell.stand_in.faults.next("query_range", warning="partial")
    cell.stand_in.faults.next("query_range", without_stats=True)
    assert (await cell.query_range(NOW - SECOND, NOW)).json()["warnings"] == ["partial"]
    assert "stats" not in (await cell.query_range(NOW - SECOND, NOW)).json()["data"]


async def test_other_errors_of_the_real_one(make: Make) -> None:
    cell = await make(LokiLimits(max_response_bytes=500, publish_limits=False))
    cell.put(JOB, numbered(50))
    assert (await cell.query_range(NOW - SECOND, NOW)).status_code == 413
    assert (await cell.get("/loki/api/v1/index/shards", query='{job="a"}')).status_code == 500
    assert (await cell.get("/config/tenant/v1/limits")).status_code == 404
    assert (await cell.get("/loki/api/v1/nothing")).status_code == 404
    assert (await cell.get("/ready")).text == "ready\n"


async def test_gzip_only_sometimes(make: Make) -> None:
    cell = await make(LokiLimits(compress_responses="sometimes"))
    cell.put(JOB, numbered(50))
    codings = {(await cell.query_range(NOW - SECOND, NOW)).headers.get("content-encoding") for _ in range(4)}
    assert codings == {"gzip", None}


# --- labels ------------------------------------------------------------------------------------------------------------


async def test_labels_that_loki_adds(make: Make) -> None:
    cell = await make(LokiLimits(discover_service_name=True, discover_log_levels=True))
    cell.put({"app": "shop"}, [(NOW - SECOND, '{"level":"ERROR"}'), (NOW - SECOND + 1, "plain", {"k": "v"})])
    cell.put({"pod": "1", "level": "warning"}, [(NOW - SECOND, "x")])
    found = {e[2]: e for e in await cell.lines(NOW - SECOND, NOW, '{service_name=~".+"}')}
    assert found["plain"][0] == (("app", "shop"), ("service_name", "shop"))
    assert found["plain"][3] == (("detected_level", "unknown"), ("k", "v"))
    assert found['{"level":"ERROR"}'][3] == (("detected_level", "error"),)
    assert found["x"][0][2] == ("service_name", "unknown_service")
    assert found["x"][3] == (("detected_level", "warn"),)


async def test_shard_labels_come_and_go(make: Make) -> None:
    limits = LokiLimits(stream_shards=2, time_shard_seconds=2 * 3600)
    cell = await make(limits)
    cell.put(JOB, [(NOW, "newest"), *numbered(4)])
    cell.put(JOB, [(NOW - 3 * HOUR, "old")])
    limits.stream_shards = 1
    cell.put(JOB, [(NOW + 1, "whole again")])
    cell.stand_in.flush()
    found = await cell.lines(NOW - 5 * HOUR, NOW + SECOND)
    names = {tuple(name for name, _ in e[0]) for e in found}
    assert names == {("__stream_shard__", "job"), ("__time_shard__", "job"), ("job",)}
    assert len(found) == 7 == len(cell.stand_in.truth("t"))


# --- the truth and the outside --------------------------------------------------------------------------------------------


async def test_the_truth_names_every_entry_as_the_exporter_must_and_shows_no_line(make: Make) -> None:
    cell = await make(auth_enabled=False, control=True)
    cell.tenant = "fake"
    await cell.push_protobuf('{job="a"}', [(NOW - SECOND, b"bad \xff byte"), (NOW, b"secret")])
    await cell.push(({"job": "b"}, [(NOW, "x", {"k": "v"})]))
    ids = StreamHasher("fake", {"job": "a"}).event_ids([NOW - SECOND, NOW], ["bad \ufffd byte", "secret"], None)
    ids += StreamHasher("fake", {"job": "b"}).event_ids([NOW], ["x"], [{"k": "v"}])
    truth = cell.stand_in.truth("fake")
    assert truth.event_ids("fake") == ids
    assert "secret" not in repr(truth) + repr(list(truth))
    shown = (await cell.client.get(f"{cell.url}/sandbox/truth?tenant=fake&ids=1")).json()
    assert shown["count"] == 3
    assert shown["ids"] == [i.hex() for i in ids]
    keyed = (await cell.client.get(f"{cell.url}/sandbox/truth?tenant=fake&key=00ff&name=acme")).json()
    assert keyed["fingerprint"] != shown["fingerprint"]


async def test_another_process_scripts_faults_and_limits(make: Make) -> None:
    cell = await make(control=True)
    post, url = cell.client.post, cell.url + "/sandbox/"
    assert (await post(url + "faults", json=[{"kind": "query_range", "status": 504}])).status_code == 200
    assert (await cell.query_range(NOW - SECOND, NOW)).status_code == 504
    assert (await post(url + "faults", json={"kind": "query_range", "typo": 1})).status_code == 400
    assert (await post(url + "faults", content=b"{")).status_code == 400
    await post(url + "faults", json={"kind": "any", "times": -1, "status": 500})
    await cell.client.delete(url + "faults")
    assert (await cell.query_range(NOW - SECOND, NOW)).status_code == 200
    await post(url + "limits", json={"max_entries_limit_per_query": 7})
    assert (await cell.query_range(NOW - SECOND, NOW, limit=8)).status_code == 400
    assert (await post(url + "limits", json={"nothing": 7})).status_code == 400
    cell.put(JOB, numbered(3))
    for action in ("cut-blocks", "flush"):
        assert (await post(url + action)).status_code == 200
    assert (await cell.client.get(url + "tenants")).json() == {"t": 3}
    assert (await cell.client.get(url + "requests")).json()["query_range"] == 3
    assert (await post(url + "lose-chunks?tenant=t")).json() == {"lost": 3}
    assert (await post(url + "nothing")).status_code == 404


async def test_without_control_there_is_no_outside(make: Make) -> None:
    cell = await make()
    assert (await cell.client.get(cell.url + "/sandbox/truth")).status_code == 404


async def test_a_restart_keeps_what_was_pushed(make: Make) -> None:
    cell = await make()
    cell.put(JOB, numbered(3))
    await cell.stand_in.stop()
    await cell.stand_in.start()
    cell.url = cell.stand_in.url
    assert len(await cell.lines(NOW - SECOND, NOW)) == 3
