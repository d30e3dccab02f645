"""Whatever is done to a ledger is found; what services do to it, killed and restarted, is no break."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.custody.chains import Chain, Chains, Head, check_end
from exporter.custody.comparison import Receipts
from exporter.custody.listing import CommitList, ReceiptList
from exporter.custody.receipts import LAST_RECORDS, ReceiptLog
from exporter.custody.records import seal, unseal
from exporter.custody.tracing import find_commits, find_receipts
from tests.support.ledgers import Commits, Store, entry, ledger_of, receipt

SOUND = ledger_of()


def breaks(records: list[bytes], **options) -> list[str]:
    chains = Chains(**{"whole": True, **options})
    for raw in records:
        chains.add(raw)
    chains.finish()
    return [str(found) for found in chains.breaks]


def heads(records: list[bytes]) -> dict[Chain, Head]:
    chains = Chains(whole=True)
    for raw in records:
        chains.add(raw)
    return chains.heads()


RAW = [raw for _, raw in SOUND]
HEADS = heads(RAW)


def test_a_sound_ledger_has_no_breaks() -> None:
    assert breaks(RAW, known=HEADS) == []
    assert {str(chain) for chain in HEADS} >= {"shard 0", "shard 1", "receipts of soc by w2"}


@given(st.integers(0, len(RAW) - 1))
def test_a_removed_record_is_found(index: int) -> None:
    """Also the last one of a chain: the checkpoint, or the writer that came after, knows it."""
    assert breaks(RAW[:index] + RAW[index + 1 :], known=HEADS)


@given(st.integers(0, len(RAW) - 1), st.data())
def test_a_changed_byte_is_found(index: int, data: st.DataObject) -> None:
    raw = RAW[index]
    place = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:place] + bytes([raw[place] ^ data.draw(st.integers(1, 255))]) + raw[place + 1 :]
    assert breaks([*RAW[:index], changed, *RAW[index + 1 :]], known=HEADS)


@given(st.integers(0, len(RAW) - 1), st.integers(0, len(RAW) - 1))
def test_swapped_records_of_a_chain_are_found(one: int, other: int) -> None:
    swapped = RAW.copy()
    swapped[one], swapped[other] = swapped[other], swapped[one]
    same = {SOUND[one][0], SOUND[other][0]}
    found = breaks(swapped, known=HEADS)
    if one != other and len(same) == 1:
        assert found
    if one == other:
        assert not found


@given(st.integers(0, len(RAW) - 1), st.sampled_from(["at_ns", "sequence", "previous", "policy", "count", "entries"]))
def test_a_record_forged_with_a_hash_of_its_own_is_found(index: int, key: str) -> None:
    """The forger writes good hashes, but cannot change what follows it, or the head that the checkpoint knows."""
    record = {k: v for k, v in orjson.loads(RAW[index]).items() if k != "hash"}
    record[key] = record[key] + 1 if isinstance(record.get(key), int) else "f" * 64
    forged, _ = seal(record)
    assert breaks([*RAW[:index], forged, *RAW[index + 1 :]], known=HEADS)
    assert breaks([*RAW, forged], known=HEADS)  # added


def test_a_record_written_twice_is_a_break_for_commits_and_a_repetition_for_receipts() -> None:
    commit, receipt_ = RAW[0], RAW[-1]
    assert breaks([commit, commit]) == ["shard 0, record 1: the record stands there twice"]
    assert breaks([*RAW, receipt_]) == []


def test_two_engines_of_one_target_write_apart_and_their_successor_continues_both() -> None:
    store = Store()
    one, two = store.begin("a"), store.begin("b")
    store.write(one, 0, 1)
    store.write(two, 2)
    store.write(one, 3)
    assert set(store.heads) == {"receipts/soc/a", "receipts/soc/b"}
    three = store.begin("c")
    assert store.breaks == []
    store.write(three, 4)
    store.write(two, 5)  # not dead at all: its chain goes on behind what was continued
    assert [w for w, *_ in unseal(store.records[4])["after"]] == ["a", "b"]
    assert set(store.heads) == {"receipts/soc/b", "receipts/soc/c"}
    assert breaks(store.records) == []
    for gone in range(6):
        assert breaks(store.records[:gone] + store.records[gone + 1 :], known=heads(store.records))


def test_two_engines_that_write_one_chain_are_a_fork() -> None:
    """Cannot happen with names of their own; would be seen if it did."""
    store = Store()
    one, two = store.begin("same"), store.begin("same")
    store.write(one, 0)
    store.write(two, 1)
    assert any("forks" in found for found in breaks(store.records))


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4), st.booleans(), st.booleans()), max_size=8))
def test_killed_writers_leave_a_ledger_without_breaks(runs: list[tuple[int, int, bool, bool]]) -> None:
    """Each run writes some, then dies in the middle of an append: some records may be there, the ends perhaps not. Or the answer
    got lost, and it appends all again.
    """
    store, number = Store(), 0
    for run, (good, partial, with_heads, again) in enumerate(runs):
        log = store.begin(f"w{run}")
        assert store.breaks == []
        for _ in range(good):
            store.write(log, number, number + 1)
            number += 2
        store.write(log, *range(number, number + 4), records=partial, heads=with_heads)
        if again:
            store.write(log)
        number += 4
    assert breaks(store.records) == []
    store.begin("last")
    assert store.breaks == []


def test_the_end_of_a_dead_writer_cannot_be_cut_off() -> None:
    store = Store()
    log = store.begin("a")
    store.write(log, 0, 1, 2)
    cut = store.records[:2]
    successor = Store()
    successor.records, successor.heads = cut, store.heads
    successor.begin("b")
    assert ["its end was removed" in str(found) for found in successor.breaks] == [True]
    successor.records = []
    successor.begin("c")
    assert ["no record of this chain" in str(found) for found in successor.breaks] == [True]


def test_a_quiet_writer_far_back_is_no_break_and_is_continued() -> None:
    store = Store()
    store.write(store.begin("quiet"), 0)
    busy = store.begin("busy", "other")
    for number in range(LAST_RECORDS):
        store.write(busy, number, target="other")
    successor = Store()
    successor.records, successor.heads = store.records[-LAST_RECORDS:], store.heads
    log = successor.begin("next")
    assert successor.breaks == []
    log.seal([receipt(1)])
    assert [writer for writer, *_ in unseal(log.pending[0])["after"]] == ["quiet"]


def test_a_break_that_was_found_at_the_start_stands_in_the_next_record() -> None:
    store = Store()
    store.write(store.begin("a"), 0, 1, 2)
    del store.records[2]
    store.write(store.begin("b"), 3)
    chains = Chains(whole=True)
    for raw in store.records:
        chains.add(raw)
    assert "its end was removed" in str(chains.noted[0])


def test_receipts_of_format_1_stay_readable_but_may_not_come_after_chained_ones() -> None:
    old = orjson.dumps({"v": 1, "kind": "receipt", **receipt(0), "time_ns": 5})
    store = Store()
    store.write(store.begin("a"), 1)
    chains = Chains(whole=True)
    for raw in [old, old, *store.records]:
        chains.add(raw)
    assert (chains.breaks, chains.unchained) == ([], {"soc": 2})
    assert "forged" in breaks([*store.records, old])[0]


def old_commit(commits: Commits) -> bytes:
    """A commit as format 1 had it."""
    record = {k: v for k, v in orjson.loads(commits.commit(entry([]))).items() if k != "hash"}
    for part in record["entries"]:
        del part["root"], part["ids"]
    raw, commits.digest = seal(record | {"v": 1})
    return raw


def test_a_chain_that_began_with_format_1_goes_on() -> None:
    commits = Commits()
    records = [old_commit(commits), old_commit(commits), commits.commit(entry([]))]
    assert breaks(records) == []
    assert breaks(records[1:])


def test_a_newer_format_is_named_and_not_guessed_at() -> None:
    raw, _ = seal({"v": 3, "kind": "commit"})
    assert "use the release that wrote it" in breaks([raw])[0]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"{}", b'{"v":1}', b'{"v":2,"kind":"receipt"}', b"\xff" * 200]
)
def test_anything_else_is_a_break_and_no_crash(raw: bytes) -> None:
    assert breaks([raw])
    assert breaks([seal({"v": 2, "kind": "what", "x": raw.decode("latin-1")})[0]])


INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES_OF_ANY_KIND = st.one_of(
    st.none(),
    st.booleans(),
    INTEGERS,
    st.text(max_size=5),
    st.lists(INTEGERS, max_size=4),
    st.dictionaries(st.text(max_size=3), INTEGERS, max_size=2),
    st.lists(st.lists(st.text(max_size=3), max_size=3), max_size=2),
)


@settings(max_examples=300)
@given(st.integers(0, len(RAW) - 1), st.data())
def test_forged_records_of_any_shape_are_breaks_and_never_a_crash(index: int, data: st.DataObject) -> None:
    """Good hashes around anything: what reads records can rely on what the walk lets through."""
    record = {k: v for k, v in orjson.loads(RAW[index]).items() if k != "hash"}
    inner = record["entries"][0] if record["kind"] == "commit" and data.draw(st.booleans()) else record
    key = data.draw(st.sampled_from([*inner, "letters", "after", "noted"]))
    if data.draw(st.booleans()):
        inner[key] = data.draw(VALUES_OF_ANY_KIND)
    else:
        inner.pop(key, None)
    if data.draw(st.booleans()) and record.get("kind") != "commit":
        record["kind"] = data.draw(st.sampled_from(["dead_letters", "redriven", "skipped", "moved"]))
    forged = seal(record)[0]
    records = [*RAW[:index], forged, *RAW[index + 1 :]]
    breaks(records, known=HEADS)
    gathered, commits, taken = Receipts(), CommitList(None, None, None, 5), ReceiptList("soc", None, None, None, 5)
    chains = Chains(whole=True)
    for raw in records:
        commits.add(raw)
        taken.add(raw)
        if (sound := chains.add(raw)) is not None:
            gathered(sound)
    find_commits("0" * 32, records)
    find_receipts({("acme", 0): 5}, records)
    ReceiptLog("soc", "next").begin({}, records)


# --- the check at a start ---------------------------------------------------------------------------------------------

SHARD = [raw for part, raw in SOUND if part == 0]
HEAD = HEADS[Chain(0)]


def test_a_sound_end_is_passed() -> None:
    assert check_end(0, SHARD[-2:], HEAD) == ([], HEAD)
    assert check_end(5, [], None) == ([], None)


@pytest.mark.parametrize(
    ("records", "head"),
    [
        (SHARD[:-1], HEAD),  # the last record was removed
        ([], HEAD),
        (SHARD, Head(HEAD.sequence - 1, unseal(SHARD[-1])["previous"])),  # one was added, or the checkpoint set back
        (SHARD, Head(HEAD.sequence, "f" * 64)),
        (SHARD[:1] + SHARD[2:], HEAD),
        (SHARD, None),  # the checkpoint was lost
    ],
)
def test_a_broken_end_is_found_at_the_start(records: list[bytes], head: Head | None) -> None:
    found, go_on = check_end(0, records, head)
    assert found
    assert go_on == (head or HEAD)  # never from the genesis again: that would be a second chain
