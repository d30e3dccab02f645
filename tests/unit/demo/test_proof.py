from __future__ import annotations

import json
from pathlib import Path

from exporter.demo.proof import count_leaks, ids_in
from exporter.sandbox.loglines import LogGenerator, Planted


def test_a_planted_value_is_found_wherever_it_stands(tmp_path: Path) -> None:
    """The demo's proof is worth something only if it would see a leak, also at the border of two pieces."""
    generator = LogGenerator(1, tenant="acme")
    planted = [p for entry in generator.entries(20_000, 1_700_000_000 * 10**9) for p in entry.planted]
    clean, leaky = tmp_path / "clean", tmp_path / "leaky"
    clean.write_bytes(b"nothing to see\n" * 1000)
    # A password: an address may hold another, shorter one.
    value, kind = next((p.value, p.kind) for p in planted if p.kind == "password")
    leaky.write_bytes(b"x" * ((1 << 22) - 5) + value.encode() + b"\n")
    assert count_leaks(planted, [clean]) == {}
    assert count_leaks(planted, [clean, leaky]) == {kind: 1}
    assert count_leaks([], [clean]) == {}


def test_a_value_of_two_kinds_counts_as_either(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"... hunter2hunter2 ...")
    twice = [Planted("password", "line", "hunter2hunter2"), Planted("bearer", "line", "hunter2hunter2")]
    assert sum(count_leaks(twice, [path]).values()) >= 1


def test_ids_are_read_from_envelopes_and_plain_events(tmp_path: Path) -> None:
    path = tmp_path / "events"
    event = '{"event.id":"' + "ab" * 16 + '","time":1}'
    path.write_text(event + "\n" + json.dumps({"time": 1})[:-1] + ',"event":' + event + "}\n")
    assert ids_in([path]) == ["ab" * 16] * 2
