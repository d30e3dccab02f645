"""Loki's JSON answers to columns. This is the hottest code of the reader: about a microsecond an entry.

Shape: loki ``pkg/util/marshal/query.go``; with ``categorize-labels`` each value is ``[ns, line, {…}]`` whose third element
holds ``structuredMetadata``. Nothing of a body ever appears in an error.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from exporter.domain.windows import NS_PER_MS, NS_PER_SECOND, Window
from exporter.errors import BadAnswer

_HINT = "something between us and Loki changes its answers; compare with a direct request to Loki"
_NO_METADATA: Mapping[str, str] = {}


@dataclass(slots=True, repr=False)
class PageStream:
    """Entries of one stream of a page, as columns in the order of the answer."""

    labels: dict[str, str]
    times_ns: list[int]
    lines: list[str]
    metadata: list[Mapping[str, str]] | None


@dataclass(slots=True, repr=False)
class Page:
    """One answer to a log query.

    ``returned`` counts entries; ``lines_sent`` is ``stats.ingester.totalLinesSent``, what all ingesters together sent
    before the querier removed duplicates: only both below the limit show that nothing was cut (finding 3).
    """

    streams: list[PageStream]
    returned: int
    lines_sent: int
    body_bytes: int

    def is_cut(self, limit: int) -> bool:
        """Tell whether some source may have stopped at the limit."""
        return self.returned >= limit or self.lines_sent >= limit


def parse_json(body: bytes) -> Any:
    """Parse a body. Loki writes labels without repairing their UTF-8, which no strict parser takes: then bad bytes become
    U+FFFD, as Loki itself does in lines. Raises BadAnswer for what is not JSON.
    """
    with suppress(orjson.JSONDecodeError):
        return orjson.loads(body)
    with suppress(ValueError, RecursionError):
        # json also takes lone surrogates, which orjson refuses.
        return json.loads(body.decode("utf-8", "replace"))
    # Raised outside of any handler: the parsers' errors hold the whole body, and a context would carry it along.
    raise BadAnswer("Loki's answer is not JSON or is cut off", hint=_HINT)


def decode_page(body: bytes, window: Window) -> Page:
    """Decode a log answer for ``window``. Raises BadAnswer when it is not one, carries warnings (partial), lacks the
    statistics, or holds a time outside the window.
    """
    collecting = gc.isenabled()
    gc.disable()  # a page makes 5,000 lists that live for a millisecond; collecting among them costs a third of the time
    try:
        data = _data_of(parse_json(body), "streams")
        lines_sent = None
        with suppress(KeyError, TypeError):
            lines_sent = data["stats"]["ingester"]["totalLinesSent"]
        if not isinstance(lines_sent, int):
            raise BadAnswer("Loki's answer lacks its statistics, without which no page can be proven whole", hint=_HINT)
        streams = None
        with suppress(KeyError, TypeError, ValueError, IndexError, AttributeError):
            streams = [_stream(item) for item in data["result"] if item["values"]]
    finally:
        if collecting:
            gc.enable()
    if streams is None:
        raise BadAnswer("Loki's answer has an unknown shape", hint=_HINT)
    for stream in streams:
        if min(stream.times_ns) < window.start_ns or max(stream.times_ns) >= window.end_ns:
            raise BadAnswer("Loki's answer holds entries outside the window asked for", hint=_HINT)
    return Page(streams, sum(len(s.times_ns) for s in streams), lines_sent, len(body))


def _stream(item: dict[str, Any]) -> PageStream:
    labels, values = item["stream"], item["values"]
    if not isinstance(labels, dict):
        raise TypeError
    columns = list(zip(*values, strict=True))
    times = list(map(int, columns[0]))
    lines: list[str] = list(columns[1])
    metadata = _metadata(columns[2]) if len(columns) > 2 and any(columns[2]) else None
    return PageStream(labels, times, lines, metadata)


def _metadata(extras: Sequence[dict[str, Any]]) -> list[Mapping[str, str]] | None:
    found = [extra.get("structuredMetadata", _NO_METADATA) for extra in extras]
    return found if any(found) else None


def decode_count(body: bytes) -> int:
    """Decode an instant ``sum(count_over_time(…))``; an empty vector is 0. Raises BadAnswer."""
    data = _data_of(parse_json(body), "vector")
    try:
        return sum(int(float(item["value"][1])) for item in data["result"])
    except (KeyError, TypeError, ValueError, IndexError):
        raise BadAnswer("Loki's count has an unknown shape", hint=_HINT) from None


def decode_cells(body: bytes) -> dict[int, int]:
    """Decode a range ``sum(count_over_time(…[W]))`` with a step of W, whole seconds: end in ns of each right-closed W →
    count. Those without entries are absent. Raises BadAnswer.
    """
    data = _data_of(parse_json(body), "matrix")
    cells: dict[int, int] = {}
    try:
        for item in data["result"]:
            for seconds, count in item["values"]:
                end_ns = round(float(seconds)) * NS_PER_SECOND
                cells[end_ns] = cells.get(end_ns, 0) + int(float(count))
    except (KeyError, TypeError, ValueError):
        raise BadAnswer("Loki's counts have an unknown shape", hint=_HINT) from None
    return cells


def decode_series(body: bytes) -> list[dict[str, str]]:
    """Decode an answer of ``/series``. Raises BadAnswer."""
    document = parse_json(body)
    try:
        _check(document)
        series = document["data"] or []
        if all(isinstance(labels, dict) for labels in series):
            return list(series)
    except (KeyError, TypeError):
        pass
    raise BadAnswer("Loki's list of streams has an unknown shape", hint=_HINT)


def decode_deletes(body: bytes) -> list[Window]:
    """Decode the list of delete requests to what they cover; times are seconds, the end inclusive to the millisecond (loki
    ``pkg/compactor/deletion/delete_request.go``, prometheus ``model.Time``). Raises BadAnswer.
    """
    document = parse_json(body)
    try:
        spans = [(float(item["start_time"]), float(item["end_time"])) for item in document or []]
        bounds = [(round(s * 1000) * NS_PER_MS, (round(e * 1000) + 1) * NS_PER_MS) for s, e in spans]
        return [Window(start, end) for start, end in bounds if start < end]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BadAnswer("Loki's list of delete requests has an unknown shape", hint=_HINT) from None


def decode_has_data(body: bytes) -> bool:
    """Decode ``/index/stats``: whether anything may be there. Raises BadAnswer."""
    document = parse_json(body)
    try:
        return any(int(document[key]) > 0 for key in ("streams", "chunks", "entries"))
    except (KeyError, TypeError, ValueError):
        raise BadAnswer("Loki's index statistics have an unknown shape", hint=_HINT) from None


def _check(document: Any) -> None:
    """Raises BadAnswer unless Loki says success without warnings: a warning marks a partial answer."""
    if not isinstance(document, dict) or document.get("status") != "success":
        raise BadAnswer("Loki's answer does not say success", hint=_HINT)
    if document.get("warnings"):
        raise BadAnswer("Loki's answer carries warnings, so it may be partial", hint="look into Loki's own log")


def _data_of(document: Any, result_type: str) -> dict[str, Any]:
    _check(document)
    data = document.get("data")
    if not isinstance(data, dict) or data.get("resultType") != result_type or not isinstance(data.get("result"), list):
        raise BadAnswer(f"Loki's answer holds no {result_type}", hint=_HINT)
    return data
