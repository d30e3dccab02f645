from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.events import encode_head, event_id_of, time_ns_of


@given(st.binary(min_size=16, max_size=16), st.integers(-(2**63), 2**63 - 1))
def test_the_head_is_read_by_position(event_id: bytes, time_ns: int) -> None:
    value = encode_head(event_id.hex(), time_ns) + b'"kind":"log"}'
    assert event_id_of(value) == event_id.hex()
    assert time_ns_of(value) == time_ns


@pytest.mark.parametrize("value", [b"", b"{}", b'{"time":1,"event.id":"x"}', b'{"event.id":"short","time":1,"a":1}'])
def test_a_foreign_object_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="not a canonical event"):
        event_id_of(value)
    with pytest.raises(ValueError, match="not a canonical event"):
        time_ns_of(value)
