from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.windows import Window

times = st.integers(min_value=-(2**62), max_value=2**62)


@given(times, st.integers(2, 2**40), st.data())
def test_two_halves_tile_the_window(start: int, length: int, data: st.DataObject) -> None:
    window = Window(start, start + length)
    cut = data.draw(st.integers(start + 1, start + length - 1))
    left, right = window.split_at(cut)
    assert (left.start_ns, left.end_ns, right.start_ns, right.end_ns) == (start, cut, cut, start + length)
    assert left.duration_ns + right.duration_ns == window.duration_ns
    assert right.contains(cut)
    assert not left.contains(cut)


@given(times, st.integers(0, 2**40))
def test_an_empty_or_reversed_window_is_refused(start: int, back: int) -> None:
    with pytest.raises(ValueError, match="start < end"):
        Window(start, start - back)
