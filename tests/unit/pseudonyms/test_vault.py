"""Values to tokens: batch-wise, durable first, forgetful when told, nothing in clear at rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.errors import PseudonymsUnavailable
from exporter.pseudonyms import admin
from exporter.pseudonyms.sqlite import SqliteSaltStore
from exporter.pseudonyms.vault import ALPHABET, TOKEN_LETTERS
from tests.support.pipelines import NOW_NS, batch_of, events_of, stream_of
from tests.support.pseudonyms import Unsteady, policy_pipeline, sealer, vault_of

POLICY = {"actions": {"email": "pseudonym"}, "fields": {"user.name": "pseudonym"}}
MONTH_NS = 31 * 86_400 * 10**9


def lines(number: int) -> list[str]:
    return [f'{{"user":"user{n}","msg":"mail u{n}@example.com"}}' for n in range(number)]


def test_a_batch_costs_a_few_round_trips_and_known_values_none():
    store = Unsteady(SqliteSaltStore(None))
    pipeline = policy_pipeline(POLICY, store)
    pipeline.process(batch_of(stream_of(lines(300))))
    assert store.adds <= 3  # the epoch's key, values of rules, values of fields
    adds, gets = store.adds, store.gets
    pipeline.process(batch_of(stream_of(lines(300))))
    assert (store.adds, store.gets) == (adds, gets)


def test_tokens_are_letters_only():
    vault = vault_of()
    vault.begin(NOW_NS)
    tokens = {vault.letters("user", b"%d" % n) for n in range(500)}
    assert len(tokens) == 500
    assert all(len(token) == TOKEN_LETTERS and set(token) <= set(ALPHABET) for token in tokens)


def test_a_store_that_is_away_makes_the_batch_wait_and_loses_nothing():
    store = Unsteady(SqliteSaltStore(None))
    pipeline = policy_pipeline(POLICY, store)
    batch = batch_of(stream_of(lines(3)))
    first = pipeline.process(batch)
    for away in (1, 2):
        pipeline = policy_pipeline(POLICY, store)
        store.away = away
        for _ in range(away):
            with pytest.raises(PseudonymsUnavailable):
                pipeline.process(batch)
        assert pipeline.process(batch).values == first.values


def test_events_take_the_epoch_of_their_own_time():
    stream = stream_of(["a@b.example one", "a@b.example two", "a@b.example three"])
    stream.times_ns[2] += 2 * MONTH_NS
    both = policy_pipeline(POLICY, store := SqliteSaltStore(None))
    texts = [e["message"].split()[0] for e in events_of(both.process(batch_of(stream)))]
    assert texts[0] == texts[1] != texts[2]
    assert len(admin.epochs(store)) == 2


def test_labels_do_not_keep_a_forgotten_token():
    store = SqliteSaltStore(None)
    pipeline = policy_pipeline(POLICY, store)
    batch = batch_of(stream_of(["x"], {"owner": "a@b.example"}))
    before = events_of(pipeline.process(batch))[0]["loki.labels"]["owner"]
    assert admin.forget(store, sealer(), ["email"], b"a@b.example") == 1
    after = events_of(pipeline.process(batch))[0]["loki.labels"]["owner"]
    assert before != after


def test_a_file_holds_nothing_in_clear_and_nothing_of_what_was_deleted(tmp_path: Path):
    path = tmp_path / "acme.db"
    store = SqliteSaltStore(path)
    vault = vault_of(store)
    vault.begin(NOW_NS)
    token = vault.letters("email", b"zebulon@example.com")
    records = store.get(store.places(b""))
    store.close()
    assert path.stat().st_mode & 0o077 == 0
    raw = path.read_bytes()
    assert b"zebulon" not in raw
    assert token.encode() not in raw
    salts = {place: sealed for place, sealed in records.items() if b"/s/" in place}
    assert all(sealed in raw for sealed in salts.values())
    assert admin.forget(store, sealer(), ["email"], b"zebulon@example.com") == 1
    store.close()
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert not any(sealed in left or place in left for place, sealed in salts.items())
    assert admin.shred(store, next(iter(admin.epochs(store)))) == 1
    store.close()
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert not any(sealed in left for sealed in records.values())


def test_a_damaged_or_missing_file_says_what_to_do(tmp_path: Path):
    (tmp_path / "acme.db").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    for path in (tmp_path / "acme.db", Path("/proc/none/acme.db")):
        with pytest.raises(PseudonymsUnavailable) as caught:
            SqliteSaltStore(path).get([b"x"])
        assert str(path) in str(caught.value)


def test_addresses_can_be_looked_up_while_their_epoch_lives():
    store = SqliteSaltStore(None)
    pipeline = policy_pipeline({"actions": {"ipv4": "ip_prefix"}}, store)
    (event,) = events_of(pipeline.process(batch_of(stream_of(["from 10.1.2.3"]))))
    known = admin.address_tokens(store, sealer(), b"::ffff:10.1.2.3")
    assert event["message"] == f"from [redacted-ip-{known[0].token}]"
    assert admin.address_tokens(store, sealer(), b"anna") == []
    admin.shred(store, known[0].epoch)
    assert admin.address_tokens(store, sealer(), b"10.1.2.3") == []


def test_addresses_of_a_network_begin_alike():
    vault = vault_of()
    vault.begin(NOW_NS)
    one, two, far = (
        vault.address_letters(bytes(a), keep_prefix=True) for a in ((10, 1, 2, 3), (10, 1, 2, 200), (11, 1, 2, 3))
    )
    assert one[:6] == two[:6]
    assert one[:6] != far[:6]
    assert len(one) == 8
