from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.custody.ledger import GENESIS, LedgerEntry, build_record, decode_chain, encode_chain, verify_chain

ENTRY = LedgerEntry("acme", "hot", 0, 1, 2, 2, 0, {}, 2, "0" * 32, "p1")


def chain(length: int) -> list[bytes]:
    records, previous = [], GENESIS
    for sequence in range(1, length + 1):
        record, previous = build_record(
            shard=0, sequence=sequence, previous=previous, worker="w", at_ns=sequence, entries=[ENTRY]
        )
        records.append(record)
    return records


@given(st.integers(2, 6), st.data())
def test_any_change_removal_or_swap_breaks_the_chain(length: int, data: st.DataObject) -> None:
    records = chain(length)
    assert verify_chain(records)[0] == length
    index = data.draw(st.integers(0, length - 2))
    swapped = records.copy()
    swapped[index], swapped[index + 1] = swapped[index + 1], swapped[index]
    changed = records.copy()
    changed[index] = changed[index].replace(b'"entries_in":2', b'"entries_in":1')
    for broken in (swapped, changed, records[:index] + records[index + 1 :]):
        with pytest.raises(ValueError, match="ledger record"):
            verify_chain(broken)


def test_the_chain_goes_on_with_the_next_owner() -> None:
    assert decode_chain(None) == (0, GENESIS)
    assert decode_chain(encode_chain(7, "ab")) == (7, "ab")
