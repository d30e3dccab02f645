"""The engine against the truth: whatever was pushed, in whatever order, a reader that obeys the statistics gets all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.domain.clock import ManualClock
from exporter.sandbox.loki import LokiLimits, StandInLoki
from exporter.sandbox.loki.engine import Effects, LogResult
from exporter.sandbox.loki.logql import parse

START = 1_760_000_400_000_000_000
SPAN = 40
QUERY = parse('{job=~".+"}')

#: (stream, offset in ns, line, metadata) — few values, so that repeats and ties are frequent.
entry = st.tuples(
    st.integers(0, 3), st.integers(0, SPAN - 1), st.sampled_from("ab"), st.sampled_from([None, {"k": "1"}, {"k": "2"}])
)
pushes = st.lists(st.lists(entry, min_size=1, max_size=6), max_size=25)
cells = st.builds(
    lambda ingesters, replication, block_bytes: StandInLoki(
        ingesters=ingesters,
        replication=replication,
        limits=LokiLimits(block_bytes=block_bytes),
        clock=ManualClock(START + 10**9),
    ),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 10),
)


def fill(loki: StandInLoki, batches: list, flush_after: int) -> None:
    for index, batch in enumerate(batches):
        for stream, offset, line, metadata in batch:
            loki.push("t", {"job": f"s{stream}"}, [(START + offset, line, metadata)])
        if index == flush_after:
            loki.flush()


def rows(result: LogResult) -> list[tuple]:
    return [
        (piece.stream.labels["job"], time_ns, line, (metadata or {}).get("k"))
        for piece in result.pieces
        for time_ns, line, metadata in piece.rows()
    ]


def truth(loki: StandInLoki) -> Counter:
    return Counter((e.labels["job"], e.time_ns, e.line, (e.metadata or {}).get("k")) for e in loki.truth("t"))


def asked(loki: StandInLoki, start: int, end: int, limit: int, *, forward: bool = True) -> LogResult:
    now = loki.clock.now_ns()
    return loki._engine.log(loki.tenant("t"), QUERY, (start, end), limit, forward=forward, now_ns=now)


@settings(max_examples=60, deadline=None)
@given(cells, pushes, st.integers(0, 25), st.booleans())
def test_without_a_cut_an_answer_is_exactly_the_truth(loki, batches, flush_after, forward) -> None:
    fill(loki, batches, flush_after)
    found = rows(asked(loki, START, START + SPAN, 10_000, forward=forward))
    assert Counter(found) == truth(loki)


@settings(max_examples=60, deadline=None)
@given(cells, pushes, st.integers(0, 25), st.integers(1, 12))
def test_halving_by_the_statistics_finds_everything(loki, batches, flush_after, limit) -> None:
    fill(loki, batches, flush_after)
    found: list[tuple] = []

    def read(start: int, end: int) -> None:
        result = asked(loki, start, end, limit)
        if result.count < limit and result.lines_sent < limit:
            found.extend(rows(result))
        elif end - start > 1:
            read(start, (start + end) // 2)
            read((start + end) // 2, end)
        else:
            found.extend(rows(asked(loki, start, end, 10_000)))  # ties are the reader's further business

    read(START, START + SPAN)
    assert Counter(found) == truth(loki)


@settings(max_examples=40, deadline=None)
@given(cells, pushes, st.integers(0, 25), st.integers(1, 8), st.booleans())
def test_a_cut_answer_is_a_part_of_the_truth_from_the_right_end(loki, batches, flush_after, limit, forward) -> None:
    fill(loki, batches, flush_after)
    result = asked(loki, START, START + SPAN, limit, forward=forward)
    found = Counter(rows(result))
    assert found <= truth(loki)
    assert found.total() <= limit
    whole = truth(loki).total() < limit and result.lines_sent < limit
    assert (found == truth(loki)) or not whole
    for piece in result.pieces:
        assert piece.times == sorted(piece.times)


@settings(max_examples=60, deadline=None)
@given(cells, pushes, st.integers(0, 25))
def test_counts_are_whole_where_nothing_repeats_and_a_cell_is_counted_alike_alone(loki, batches, flush_after) -> None:
    seen: set[tuple[int, str]] = set()
    fresh: list[list] = []
    for batch in batches:  # neither repeats nor equal lines in different streams
        fresh.append([])
        for stream, offset, line, _ in batch:
            if (offset, line) not in seen:
                seen.add((offset, line))
                fresh[-1].append((stream, offset, line, None))
    fill(loki, fresh, flush_after)
    query = parse('sum(count_over_time({job=~".+"}[1s]))')
    count = loki._engine.count(
        loki.tenant("t"), query, START + SPAN, asked_until_ns=START + SPAN, now_ns=loki.clock.now_ns()
    )
    assert count == len(seen) == len(loki.truth("t"))


@settings(max_examples=40, deadline=None)
@given(pushes, st.integers(0, 2))
def test_a_lost_ingester_takes_exactly_its_streams(batches, lost) -> None:
    loki = StandInLoki(ingesters=3, limits=LokiLimits(block_bytes=5), clock=ManualClock(START + 10**9))
    fill(loki, batches, flush_after=99)
    now = loki.clock.now_ns()
    effects = Effects(lost_ingesters=frozenset([lost]))
    result = loki._engine.log(
        loki.tenant("t"), QUERY, (START, START + SPAN), 10_000, forward=True, now_ns=now, effects=effects
    )
    gone = {s.labels["job"] for s in loki.tenant("t").streams if lost in s.owners}
    expected: Callable[[tuple], bool] = lambda row: row[0] not in gone  # noqa: E731
    assert Counter(rows(result)) == Counter({k: n for k, n in truth(loki).items() if expected(k)})
