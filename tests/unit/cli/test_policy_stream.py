"""`policy try`: one line out for each line in, whatever the bytes and however they arrive; nothing raw on failure (G4)."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cli.policy import WITHHELD, redact_stream
from exporter.cli.trial import CHUNK_BYTES


class Pipe(io.RawIOBase):
    """Gives what a writer would have written so far, piece by piece."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = list(pieces)

    def read1(self, _: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def upper(lines: Sequence[str]) -> list[str]:
    return [line.replace("secret", "*") for line in lines]


def run(pieces: Sequence[bytes], redact=upper) -> tuple[bytes, int]:
    sink = io.BytesIO()
    withheld = redact_stream(redact, Pipe([p for p in pieces if p]), sink)  # type: ignore[arg-type]
    return sink.getvalue(), withheld


def test_lines_and_the_missing_last_newline_are_kept() -> None:
    assert run([b"a secret\n\nb\r\nc"]) == (b"a *\n\nb\r\nc", 0)
    assert run([b""]) == (b"", 0)
    assert run([b"\n"]) == (b"\n", 0)


def test_a_line_that_arrives_in_pieces_is_redacted_as_one() -> None:
    assert run([b"x sec", b"ret y\nz se", b"cret"]) == (b"x * y\nz *", 0)


def test_complete_lines_leave_at_once() -> None:
    sink = io.BytesIO()
    seen: list[bytes] = []

    class Watched(Pipe):
        def read1(self, size: int) -> bytes:
            seen.append(sink.getvalue())
            return super().read1(size)

    redact_stream(upper, Watched([b"one\ntw", b"o\n"]), sink)  # type: ignore[arg-type]
    assert seen == [b"", b"one\n", b"one\ntwo\n"]


def test_bytes_that_are_no_utf8_pass() -> None:
    assert run([b"caf\xe9 secret \xff\n"]) == (b"caf\xe9 * \xff\n", 0)


def test_a_line_that_cannot_be_redacted_is_withheld_alone() -> None:
    def picky(lines: Sequence[str]) -> list[str]:
        if any("bad" in line for line in lines):
            raise RuntimeError("bad secret line")
        return upper(lines)

    lines = [f"line {i} secret" for i in range(500)]
    lines[123] = lines[499] = "bad secret"
    out, withheld = run(["\n".join(lines).encode()], picky)
    assert withheld == 2
    result = out.split(b"\n")
    assert len(result) == 500
    assert [i for i, line in enumerate(result) if line == WITHHELD] == [123, 499]
    leaks = sum(b"secret" in line for line in result)
    assert leaks == 0


def test_an_answer_that_is_not_one_for_one_is_not_trusted() -> None:
    for wrong in (lambda lines: lines[:-1], lambda lines: ["a\nb"] * len(lines), lambda lines: ["\ud800"] * len(lines)):
        out, withheld = run([b"one\ntwo\n"], wrong)
        assert (out, withheld) == ((WITHHELD + b"\n") * 2, 2)


def test_a_line_much_longer_than_a_chunk() -> None:
    line = b"x" * (3 * CHUNK_BYTES) + b" secret"
    source = io.BufferedReader(io.BytesIO(line + b"\nend\n"))  # type: ignore[arg-type]
    sink = io.BytesIO()
    assert redact_stream(upper, source, sink) == 0
    assert sink.getvalue() == line.replace(b"secret", b"*") + b"\nend\n"


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
@settings(max_examples=150, deadline=None)
def test_any_bytes_in_any_pieces_come_out_as_they_went_in(data: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert run(pieces, list) == (data, 0)
