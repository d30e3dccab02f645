"""Both stores of salts keep the same promises: first writer wins, deletion is deletion, every worker learns of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.errors import PseudonymsUnavailable
from exporter.pseudonyms import admin
from exporter.pseudonyms.kafka import KafkaSaltStore
from exporter.pseudonyms.keys import Sealer
from exporter.pseudonyms.sqlite import SqliteSaltStore
from exporter.pseudonyms.store import SaltStore
from exporter.pseudonyms.vault import Vault
from tests.support.fixtures import kafka_settings

NOW_NS = 1_764_000_000_000_000_000
MONTH_NS = 31 * 86_400 * 10**9
Open = Callable[..., SaltStore]


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens the tenant's store once more, as another process would."""
    made: list[SaltStore] = []
    settings = kafka_settings(request.getfixturevalue("kafka")) if request.param == "kafka" else None

    def make(tenant: str = "acme") -> SaltStore:
        store = KafkaSaltStore(settings, tenant) if settings else SqliteSaltStore(tmp_path / f"{tenant}.db")
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


def sealer(tenant: str = "acme") -> Sealer:
    return Sealer([b"master key of the tests 0123456789"], tenant)


def vault(store: SaltStore, tenant: str = "acme", at_ns: int = NOW_NS) -> Vault:
    made = Vault(store, sealer(tenant), "month")
    made.begin(at_ns)
    return made


def until(done: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_there_stays(opened: Open):
    one, other = opened(), opened()
    assert one.get([b"e/k"]) == {}
    assert one.add({b"e/k": b"first", b"e/s/1": b"salt"}) == {b"e/k": b"first", b"e/s/1": b"salt"}
    assert other.add({b"e/k": b"second", b"e/s/2": b"more"}) == {b"e/k": b"first", b"e/s/2": b"more"}
    assert one.places(b"e/s/") == [b"e/s/1", b"e/s/2"]
    assert other.get([b"e/k", b"e/s/1", b"none"]) == {b"e/k": b"first", b"e/s/1": b"salt"}
    assert opened().places(b"") == [b"e/k", b"e/s/1", b"e/s/2"]


def test_racing_writers_agree(opened: Open):
    places = [b"2026-11/s/%d" % n for n in range(40)]
    results: list[dict[bytes, bytes]] = []
    gate = threading.Barrier(4)

    def write() -> None:
        store = opened()
        store.get([])
        gate.wait()
        got: dict[bytes, bytes] = {}
        for first in range(0, len(places), 8):
            got |= store.add({place: os.urandom(8) for place in places[first : first + 8]})
        results.append(got)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert len(results) == 4
    assert all(got == results[0] for got in results)
    assert opened().get(places) == results[0]
    late = opened()
    assert late.add(dict.fromkeys(places, b"x")) == results[0]


def test_deletion_is_seen_by_all_and_makes_room(opened: Open):
    one, other = opened(), opened()
    one.add({b"e/s/1": b"old", b"e/s/2": b"stays"})
    other.get([b"e/s/1"])
    before = other.generation()
    assert one.delete([b"e/s/1", b"unknown"]) == 1
    until(lambda: other.generation() > before)
    assert other.get([b"e/s/1", b"e/s/2"]) == {b"e/s/2": b"stays"}
    assert other.add({b"e/s/1": b"new"}) == {b"e/s/1": b"new"}
    assert opened().get([b"e/s/1"]) == {b"e/s/1": b"new"}


def test_workers_agree_on_tokens_and_a_restart_keeps_them(opened: Open):
    one, other = vault(opened()), vault(opened())
    one.learn([("email", b"Anna@Example.com")])
    other.learn([("email", b"anna%40example.com"), ("user", b"anna")])
    assert one.letters("email", b"Anna@Example.com") == other.letters("email", b"anna%40example.com")
    assert one.letters("user", b"anna") == vault(opened()).letters("user", b"ANNA")
    assert one.letters("user", b"anna") != one.letters("email", b"anna")
    assert one.address_letters(b"\x0a\1\2\3", keep_prefix=True) == other.address_letters(
        b"\x0a\1\2\3", keep_prefix=True
    )


def test_a_forgotten_person_has_a_new_token_and_the_old_one_is_gone(opened: Open):
    store, running = opened(), vault(opened())
    old = running.letters("email", b"anna@example.com")
    neighbour = running.letters("email", b"bob@example.com")
    later = vault(opened(), at_ns=NOW_NS + 2 * MONTH_NS).letters("email", b"anna@example.com")
    known = admin.tokens(store, sealer(), ["email", "user"], b"ANNA@example.com")
    assert {k.token for k in known} == {old, later}
    assert len({k.epoch for k in known}) == 2
    assert admin.forget(store, sealer(), ["email"], b"anna@example.com") == 2
    assert admin.tokens(store, sealer(), ["email"], b"anna@example.com") == []

    def has_new_token() -> bool:
        running.begin(NOW_NS)
        return running.letters("email", b"anna@example.com") != old

    until(has_new_token)
    assert running.letters("email", b"bob@example.com") == neighbour


def test_a_shredded_epoch_has_neither_key_nor_salts(opened: Open):
    store, running = opened(), vault(opened())
    old = running.letters("user", b"anna"), running.address_letters(b"\x0a\1\2\3", keep_prefix=True)
    (name,) = admin.epochs(store)
    assert admin.epochs(store) == {name: 1}
    assert admin.shred(store, name) == 2
    assert admin.epochs(store) == {}

    def is_new() -> bool:
        running.begin(NOW_NS)
        return running.address_letters(b"\x0a\1\2\3", keep_prefix=True) != old[1]

    until(is_new)
    assert running.letters("user", b"anna") != old[0]


def test_tenants_are_apart(opened: Open):
    acme, beta = vault(opened("acme")), vault(opened("beta"), "beta")
    assert acme.letters("user", b"anna") != beta.letters("user", b"anna")
    stored = opened("acme")
    sealed = stored.get(stored.places(b""))
    foreign = sealer("beta")
    for place, record in sealed.items():
        with pytest.raises(PseudonymsUnavailable):
            foreign.open(place, record)


def test_a_candidate_left_by_a_crash_is_used_by_the_next_writer(opened: Open):
    crashed = opened()
    left = crashed.add({b"e/s/1": b"left"})
    crashed.close()
    assert opened().add({b"e/s/1": b"next"}) == left
