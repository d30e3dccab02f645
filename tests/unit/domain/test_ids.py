from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.ids import StreamHasher, add_fingerprints, fingerprint
from exporter.domain.tenants import shard_of

labels = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4)
times = st.integers(min_value=-(2**63), max_value=2**63 - 1)
#: Surrogates too: Loki writes labels without UTF-8 repair, and JSON can carry "\ud800".
lines = st.text(alphabet=st.characters(), max_size=40) | st.just("\ud800")


@given(labels, times, lines, st.none() | labels)
def test_an_id_depends_on_nothing_but_the_entry(
    stream: dict[str, str], time_ns: int, line: str, metadata: dict[str, str] | None
) -> None:
    shuffled = dict(reversed(list(stream.items())))
    first = StreamHasher("acme", stream).event_ids([time_ns], [line], [metadata or {}])
    again = StreamHasher("acme", shuffled).event_ids([5, time_ns], ["x", line], [{}, metadata or {}])[1:]
    assert first == again
    assert len(first[0]) == 16
    if not metadata:
        assert StreamHasher("acme", stream).event_ids([time_ns], [line], None) == first


@given(labels, times, lines)
def test_every_part_of_the_entry_changes_the_id(stream: dict[str, str], time_ns: int, line: str) -> None:
    base = StreamHasher("acme", stream).event_ids([time_ns], [line], None)[0]
    others = {
        StreamHasher("acme2", stream).event_ids([time_ns], [line], None)[0],
        StreamHasher("acme", {**stream, "extra_label": "1"}).event_ids([time_ns], [line], None)[0],
        StreamHasher("acme", stream).event_ids([time_ns ^ 1], [line], None)[0],
        StreamHasher("acme", stream).event_ids([time_ns], [line + "a"], None)[0],
        StreamHasher("acme", stream).event_ids([time_ns], [line], [{"k": "v"}])[0],
        StreamHasher("acme", stream, key=b"k").event_ids([time_ns], [line], None)[0],
    }
    assert len(others) == 6
    assert base not in others


def test_ids_and_shards_never_change_between_releases() -> None:
    """A changed digest would make every replay disagree with what targets hold; these values are for ever."""
    hasher = StreamHasher("acme", {"job": "api"})
    ids = hasher.event_ids([1_700_000_000_000_000_000], ["hello"], [{"pod": "a"}])
    assert ids[0].hex() == "dfe98ad683f91c3c74023e544fb7a0e7"
    assert hasher.stream_id == "450e181368d35333"
    assert [shard_of(tenant, 16) for tenant in ("acme", "umbrella", "fake")] == [1, 10, 1]


@given(st.sets(st.binary(min_size=16, max_size=16), max_size=30), st.data())
def test_a_fingerprint_ignores_order_and_adds_over_disjoint_sets(ids: set[bytes], data: st.DataObject) -> None:
    ordered = list(ids)
    shuffled = data.draw(st.permutations(ordered))
    cut = data.draw(st.integers(0, len(ordered)))
    assert fingerprint(ordered) == fingerprint(shuffled)
    assert add_fingerprints(fingerprint(ordered[:cut]), fingerprint(ordered[cut:])) == fingerprint(ordered)
