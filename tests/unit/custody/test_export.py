"""A ledger as files: what was exported is proven from the files alone, and whatever is done to them is found."""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from exporter.custody import manifests
from exporter.custody.export import Exported, export, since_ms
from exporter.custody.manifests import Manifest
from exporter.custody.records import seal
from exporter.custody.signing import envelope, public_key, signing_key
from exporter.custody.verify import Verdict, is_export, verify_export
from exporter.domain.secrets import Secret
from exporter.errors import ConfigurationError, ExporterError
from tests.support.events import BASE_NS
from tests.support.ledgers import SECOND_NS, ledger_of

LEDGER = ledger_of(commits=8)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()


def write(folder: Path, records=LEDGER, **options) -> Exported:
    return export(folder, records, **{"now_ns": BASE_NS, "version": "1", "key": KEY, "segment_bytes": 4000, **options})


def verify(folder: Path) -> Verdict:
    return verify_export(folder, [PUBLIC])


def test_an_export_is_proven_and_gives_back_every_record(tmp_path: Path) -> None:
    done = write(tmp_path)
    assert (done.records, done.breaks, done.signed) == (len(LEDGER), [], True)
    seen: list[str] = []
    verdict = verify_export(tmp_path, [PUBLIC], lambda record: seen.append(record["hash"]))
    assert (verdict.problems, verdict.notes) == ([], [])
    assert sorted(seen) == sorted(orjson.loads(raw)["hash"] for _, raw in LEDGER)
    assert verdict.figures["segments"] > 4
    assert is_export(tmp_path)
    assert not is_export(tmp_path / "segments")


def test_the_next_export_adds_what_is_new_and_nothing_else(tmp_path: Path) -> None:
    for number, end in enumerate((5, 5, 14, 20, len(LEDGER)), 1):
        done = write(tmp_path, LEDGER[:end], now_ns=BASE_NS + number)
        assert done.breaks == []
        assert verify(tmp_path).problems == []
    assert verify(tmp_path).figures["records"] == len(LEDGER)
    assert manifests.numbers_in(tmp_path) == [1, 2, 3, 4]  # the second time nothing was new
    assert since_ms(tmp_path, None) == BASE_NS // 1_000_000 - 3_600_000


def test_an_export_on_a_bus_that_lost_what_was_exported_goes_on(tmp_path: Path) -> None:
    """Kafka's retention removed it: that is what exports are for. But a gap is found."""
    write(tmp_path, LEDGER[:10])
    assert write(tmp_path, LEDGER[10:]).breaks == []
    assert verify(tmp_path).problems == []
    gap = tmp_path / "gap"
    write(gap, LEDGER[:10])
    assert "are missing" in str(write(gap, LEDGER[12:]).breaks[0])
    assert verify(gap).problems


def test_a_part_says_that_it_is_one(tmp_path: Path) -> None:
    write(tmp_path, from_ns=BASE_NS + 3 * SECOND_NS, to_ns=BASE_NS + 5 * SECOND_NS)
    verdict = verify(tmp_path)
    assert verdict.problems == []
    assert "shard 0 begins with record 3: a part of the ledger was exported" in verdict.notes
    lines = [line for file in (tmp_path / "segments").iterdir() for line in file.read_bytes().splitlines()]
    records = [orjson.loads(line) for line in lines]
    assert {r["sequence"] for r in records if r["kind"] == "commit"} == {3, 4}
    write(tmp_path)  # goes on behind it
    assert verify(tmp_path).problems == []


def test_a_killed_export_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "0-0-1.part").write_bytes(b"half")
    write(tmp_path)
    assert verify(tmp_path).notes == []
    (tmp_path / "segments" / "shard-000-00.ndjson").write_bytes(b"whole, but no manifest was written")
    assert "no manifest names it" in verify(tmp_path).notes[0]


def test_two_exports_at_once_are_refused(tmp_path: Path) -> None:
    def greedy():
        yield from LEDGER[:2]
        write(tmp_path)

    with pytest.raises(ExporterError, match="another export"):
        write(tmp_path, greedy())


def test_broken_records_are_exported_and_reported(tmp_path: Path) -> None:
    """They are evidence."""
    broken = LEDGER.copy()
    broken[3] = (broken[3][0], broken[3][1].replace(b'"entries_in":20', b'"entries_in":21'))
    broken.insert(5, (0, b"rubbish\n"))
    done = write(tmp_path, broken)
    assert len(done.breaks) >= 2
    assert done.records == len(broken)
    assert len(verify(tmp_path).problems) >= 2


# --- forging files ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write(folder, LEDGER[:13])
    write(folder, LEDGER, now_ns=BASE_NS + 1)
    return folder


FILES = st.integers(0, 30)


@given(FILES, st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_of_any_file_is_found(sound: Path, number: int, place: int, change: int) -> None:
    files = sorted(path for path in sound.rglob("*.*") if path.is_file() and path.name != ".lock")
    path = files[number % len(files)]
    before = path.read_bytes()
    changed = bytearray(before)
    changed[place % len(changed)] ^= change
    path.write_bytes(changed)
    try:
        verdict = verify(sound)
    finally:
        path.write_bytes(before)
    # base64 and JSON have bytes that mean nothing (white space); what they carry is proven all the same
    assert verdict.problems or path.name.endswith(".dsse.json")


@given(FILES)
def test_any_removed_file_is_found(sound: Path, number: int) -> None:
    files = sorted(path for path in sound.rglob("*.*") if path.is_file() and path.name != ".lock")
    path = files[number % len(files)]
    if path.name.startswith("manifest-00000002"):
        return  # the newest export as a whole; only who signed or counts it knows
    before = path.read_bytes()
    path.unlink()
    try:
        assert verify(sound).problems
    finally:
        path.write_bytes(before)


def test_a_ledger_forged_as_a_whole_needs_the_key(tmp_path: Path) -> None:
    """Good hashes everywhere, but another key, no key, or the envelope of another manifest."""
    forged, real = tmp_path / "forged", tmp_path / "real"
    write(real)
    write(forged, ledger_of(commits=8, runs=1), key=Ed25519PrivateKey.from_private_bytes(bytes(32)))
    assert verify(forged).problems == ["manifest-00000001.json: it is not signed by this key"]
    assert verify_export(forged).problems == []
    assert "--public-key" in verify_export(forged).notes[0]
    shutil.copy(real / "manifest-00000001.dsse.json", forged)
    assert "something else" in verify(forged).problems[0]
    (forged / "manifest-00000001.dsse.json").unlink()
    assert verify(forged).problems == ["manifest-00000001.json: it is not signed"]


def test_a_manifest_that_leads_out_of_its_folder_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path)
    path = manifests.path_of(tmp_path, 1)
    body = orjson.loads(path.read_bytes())
    body["segments"][0]["file"] = "../../../../etc/passwd"
    path.write_bytes(orjson.dumps(body))
    assert any("outside" in problem for problem in verify_export(tmp_path).problems)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"kind":"ledger-manifest","v":9}', b'{"kind":"ledger-manifest","v":1}']
)
def test_a_foreign_manifest_is_a_problem_and_no_crash(tmp_path: Path, raw: bytes) -> None:
    manifests.path_of(tmp_path, 1).write_bytes(raw)
    assert "manifest" in verify(tmp_path).problems[0]


def test_the_envelope_is_dsse(sound: Path) -> None:
    """Checked by hand after the protocol's text: PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body."""
    raw = manifests.path_of(sound, 1).read_bytes()
    found = orjson.loads(manifests.signature_of(manifests.path_of(sound, 1)).read_bytes())
    payload, kind = base64.b64decode(found["payload"]), found["payloadType"]
    assert payload == raw
    signed = b"DSSEv1 " + str(len(kind)).encode() + b" " + kind.encode() + b" " + str(len(raw)).encode() + b" " + raw
    PUBLIC.verify(base64.b64decode(found["signatures"][0]["sig"]), signed)
    public = PUBLIC.public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert found["signatures"][0]["keyid"] == hashlib.sha256(public).hexdigest()
    assert Manifest.decode(raw).encode() == raw
    assert envelope(raw, KEY) == manifests.signature_of(manifests.path_of(sound, 1)).read_bytes()


def test_keys_are_read_from_pem_and_faults_are_named_without_content(tmp_path: Path) -> None:
    private, public = tmp_path / "key", tmp_path / "key.pub"
    private.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert signing_key(Secret(path=private)).public_key() == public_key(public) == PUBLIC
    (tmp_path / "bad").write_text("-----BEGIN hunter2")
    for bad in (tmp_path / "bad", public, tmp_path / "none"):
        with pytest.raises(ConfigurationError) as caught:
            signing_key(Secret(path=bad))
        assert "openssl genpkey" in str(caught.value)
        assert "hunter2" not in str(caught.value)
    for bad in (tmp_path / "bad", private, tmp_path / "none"):
        with pytest.raises(ConfigurationError, match="--public-key"):
            public_key(bad)


def test_a_record_that_was_sealed_anew_breaks_its_chain(tmp_path: Path) -> None:
    """The forger rewrites a record, its segment and the manifest, all with good hashes, but without the key."""
    forged = LEDGER.copy()
    body = {k: v for k, v in orjson.loads(forged[6][1]).items() if k != "hash"}
    forged[6] = (forged[6][0], seal(body | {"worker": "mallory"})[0])
    write(tmp_path, forged)
    assert any("does not follow" in problem for problem in verify(tmp_path).problems)
