"""Ledger records as rows to show, with totals. Memory is bounded by the rows asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from exporter.custody.chains import Break, Chains

#: An answer is shown to this length; the record has all of it.
_ANSWER_CHARACTERS = 120


class CommitList:
    """Windows that overlap ``[from, to)``, one row each; silent ones only in the totals."""

    def __init__(self, tenant: str | None, from_ns: int | None, to_ns: int | None, limit: int) -> None:
        self.rows: deque[dict[str, Any]] = deque(maxlen=limit)
        self.totals: dict[str, dict[str, int]] = {}
        self._tenant, self._from_ns, self._to_ns = tenant, from_ns, to_ns
        self._chains = Chains(whole=False)

    @property
    def breaks(self) -> list[Break]:
        """What is wrong with the records that were read."""
        return self._chains.breaks

    def add(self, raw: bytes) -> None:
        record = self._chains.add(raw)
        if record is None or record["kind"] != "commit":
            return
        for entry in record["entries"]:
            if self._is_wanted(entry):
                self._add(record, entry)

    def _is_wanted(self, entry: Mapping[str, Any]) -> bool:
        if self._tenant not in {None, entry["tenant"]}:
            return False
        begun = self._to_ns is None or entry["start_ns"] < self._to_ns
        return begun and (self._from_ns is None or entry["end_ns"] > self._from_ns)

    def _add(self, record: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
        numbers = {
            "windows": 1,
            "in": entry["entries_in"],
            "out": entry["events_out"],
            "held": entry["held"],
            "filtered": sum(entry["filtered"].values()),
        }
        _count(self.totals, entry["tenant"], numbers)
        if not entry["entries_in"]:
            return
        self.rows.append(
            {
                "at_ns": record["at_ns"],
                "shard": record["shard"],
                "sequence": record["sequence"],
                "tenant": entry["tenant"],
                "pass": entry["pass_name"],
                "start_ns": entry["start_ns"],
                "end_ns": entry["end_ns"],
                **{name: number for name, number in numbers.items() if name != "windows"},
                "loki_count": entry["loki_count"],
                "policy_id": entry["policy_id"],
                "root": entry.get("root", ""),
            }
        )


class ReceiptList:
    """What one target took in ``[from, to)``, one row a receipt or burial."""

    def __init__(self, target: str, tenant: str | None, from_ns: int | None, to_ns: int | None, limit: int) -> None:
        self.rows: deque[dict[str, Any]] = deque(maxlen=limit)
        self.totals: dict[str, dict[str, int]] = {}
        self._target, self._tenant = target, tenant
        self._from_ns, self._to_ns = from_ns, to_ns
        self._chains = Chains(whole=False)

    @property
    def breaks(self) -> list[Break]:
        """What is wrong with the records that were read."""
        return self._chains.breaks

    def add(self, raw: bytes) -> None:
        record = self._chains.add(raw)
        if record is None or record["kind"] == "commit" or record["target"] != self._target:
            return
        at_ns = record.get("at_ns") or record.get("time_ns") or 0
        if self._tenant not in {None, record["tenant"]} or at_ns < (self._from_ns or 0):
            return
        if self._to_ns is None or at_ns < self._to_ns:
            self._add(record, at_ns)

    def _add(self, record: Mapping[str, Any], at_ns: int) -> None:
        letters = record["letters"] if record["kind"] == "dead_letters" else ()
        numbers = {
            "receipts": int("count" in record),
            "events": record.get("count", 0),
            "bytes": record.get("bytes", 0),
            "possible duplicates": record.get("possible_duplicates", 0),
            "dead letters": len(letters),
        }
        _count(self.totals, record["tenant"], numbers)
        self.rows.append(
            {
                "at_ns": at_ns,
                "writer": record.get("writer", ""),
                "sequence": record.get("sequence", 0),
                "tenant": record["tenant"],
                "kind": record["kind"],
                "partition": record.get("partition", ""),
                "offsets": _offsets(record),
                "events": record.get("count", 0),
                "bytes": record.get("bytes", 0),
                "sha256": record.get("sha256", ""),
                "answer": _dead_letters(letters) if letters else answer_of(record.get("receipt") or {}),
            }
        )


def _offsets(record: Mapping[str, Any]) -> str:
    if record["kind"] == "dead_letters":
        offsets = [letter[0] for letter in record["letters"]]
        return f"{min(offsets)} to {max(offsets)}"
    return f"{record['first_offset']} to {record['last_offset']}" if "first_offset" in record else ""


def _dead_letters(letters: Sequence[Sequence[Any]]) -> str:
    return f"{len(letters)} dead letters ({', '.join(sorted({str(letter[2]) for letter in letters}))})"


def answer_of(said: Mapping[str, Any]) -> str:
    """Return what a target answered, in short: ids, object keys, places in files."""
    parts = []
    for key, value in said.items():
        if isinstance(value, list | tuple):
            names = [str(item.get("key", item)) if isinstance(item, Mapping) else str(item) for item in value]
            value = names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "") if names else ""  # noqa: PLW2901
        parts.append(f"{key} {value}")
    text = ", ".join(parts)
    return text if len(text) <= _ANSWER_CHARACTERS else text[: _ANSWER_CHARACTERS - 1] + "…"


def _count(totals: dict[str, dict[str, int]], tenant: str, numbers: Mapping[str, int]) -> None:
    kept = totals.setdefault(tenant, dict.fromkeys(numbers, 0))
    for name, number in numbers.items():
        kept[name] += number
