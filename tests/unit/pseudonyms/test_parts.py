"""Keys, epochs, spellings, encrypted addresses."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.secrets import Secret
from exporter.errors import ConfigurationError, PseudonymsUnavailable
from exporter.pseudonyms.canonical import canonical
from exporter.pseudonyms.epochs import epoch_at
from exporter.pseudonyms.ipcrypt import IpCrypt
from exporter.pseudonyms.keys import Sealer, master_keys

KEY = "0123456789abcdeffedcba98765432101032547698badcfeefcdab8967452301"
PREFIX_KEY = "2b7e151628aed2a6abf7158809cf4f3ca9f5ba40db214c3798f2e1c23456789a"


@pytest.mark.parametrize(
    ("key", "address", "encrypted"),
    [  # draft-denis-ipcrypt-12, test vectors of ipcrypt-pfx
        (KEY, "0.0.0.0", "151.82.155.134"),
        (KEY, "255.255.255.255", "94.185.169.89"),
        (KEY, "192.0.2.1", "100.115.72.131"),
        (KEY, "2001:db8::1", "c180:5dd4:2587:3524:30ab:fa65:6ab6:f88"),
        (PREFIX_KEY, "10.0.0.47", "19.214.210.244"),
        (PREFIX_KEY, "10.0.0.129", "19.214.210.80"),
        (PREFIX_KEY, "172.16.97.42", "210.78.179.241"),
        (PREFIX_KEY, "2001:db8::a5c9:4e2f:bb91:5a7d", "7cec:702c:1243:f70:1956:125:b9bd:1aba"),
    ],
)
def test_prefix_preserving_vectors(key: str, address: str, encrypted: str):
    packed = ipaddress.ip_address(address).packed
    assert ipaddress.ip_address(IpCrypt(bytes.fromhex(key)).prefix_preserving(packed)) == ipaddress.ip_address(
        encrypted
    )


@pytest.mark.parametrize(
    ("key", "address", "encrypted"),
    [  # the same, ipcrypt-deterministic; its key is the first half
        ("0123456789abcdeffedcba9876543210", "0.0.0.0", "bde9:6789:d353:824c:d7c6:f58a:6bd2:26eb"),
        ("1032547698badcfeefcdab8967452301", "255.255.255.255", "aed2:92f6:ea23:58c3:48fd:8b8:74e8:45d8"),
        ("2b7e151628aed2a6abf7158809cf4f3c", "192.0.2.1", "1dbd:c1b9:fff1:7586:7d0b:67b4:e76e:4777"),
    ],
)
def test_deterministic_vectors(key: str, address: str, encrypted: str):
    crypt = IpCrypt(bytes.fromhex(key) + bytes(16))
    assert crypt.deterministic(ipaddress.ip_address(address).packed) == ipaddress.ip_address(encrypted).packed


@given(st.sampled_from([4, 16]), st.data())
def test_common_prefixes_stay_common_exactly(size: int, data: st.DataObject):
    one, other = (data.draw(st.integers(0, 256**size - 1)) for _ in range(2))
    crypt = IpCrypt(bytes.fromhex(KEY))
    made = [int.from_bytes(crypt.prefix_preserving(n.to_bytes(size, "big")), "big") for n in (one, other)]
    assert (one ^ other).bit_length() == (made[0] ^ made[1]).bit_length()


def test_a_key_of_two_equal_halves_is_refused():
    with pytest.raises(ValueError, match="halves"):
        IpCrypt(bytes(32))


@pytest.mark.parametrize(
    ("kind", "spellings"),
    [
        ("email", ["Anna@Example.com", "anna%40example.com", "anna%2540example.com", "anna\\u0040example.com"]),
        ("email", ["anna&#64;example.com", "anna&#x40;EXAMPLE.com", "anna\uff20example.com"]),
        ("email", ["a@bücher.example", "A@xn--bcher-kva.example"]),
        ("ip", ["10.1.2.3", "::ffff:10.1.2.3", "[::ffff:a01:203]"]),
        ("ip", ["2001:db8::1", "2001:DB8:0:0:0:0:0:1", "2001:db8::1%eth0"]),
        ("phone", ["+49 (0)30 123-456", "0049 30 123456", "+4930123456"]),
        ("iban", ["DE89 3704 0044 0532 0130 00", "de89370400440532013000"]),
        ("user", ["Anna", " anna ", "\uff21\uff2e\uff2e\uff21"]),
    ],
)  # fmt: skip
def test_spellings_of_one_value(kind: str, spellings: list[str]):
    assert len({canonical(kind, text.encode()) for text in spellings}) == 1


@given(st.sampled_from(["email", "ip", "phone", "iban", "user"]), st.binary(max_size=60))
def test_any_value_has_a_spelling(kind: str, value: bytes):
    assert isinstance(canonical(kind, value), bytes)


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["day", "month", "year"]))
def test_epochs_hold_their_time_and_touch(time_ns: int, unit):
    epoch = epoch_at(time_ns, unit)
    assert epoch.start_ns <= time_ns < epoch.end_ns
    assert epoch_at(epoch.start_ns, unit) == epoch
    assert epoch_at(epoch.end_ns, unit).start_ns == epoch.end_ns
    assert epoch_at(epoch.end_ns, unit).name > epoch.name or epoch.start_ns < 0


def test_names_of_epochs():
    at = 1_764_000_000_000_000_000
    assert [epoch_at(at, unit).name for unit in ("day", "month", "year")] == ["2025-11-24", "2025-11", "2025"]


def test_rotation_old_lines_still_open_and_the_first_seals():
    old, new = b"o" * 32, b"n" * 32
    sealed = Sealer([old], "acme").seal(b"p", b"salt")
    both = Sealer([new, old], "acme")
    assert both.open(b"p", sealed) == b"salt"
    assert Sealer([new], "acme").open(b"p", both.seal(b"p", b"s")) == b"s"
    for refused in (lambda: Sealer([new], "acme").open(b"p", sealed), lambda: both.open(b"q", sealed)):
        with pytest.raises(PseudonymsUnavailable, match="pseudonym_key_file"):
            refused()
    assert sealed != Sealer([old], "acme").seal(b"p", b"salt")


def test_the_master_key_is_read_or_refused(tmp_path: Path):
    file = tmp_path / "key"
    file.write_text(f"{'a' * 32}\n\n{'b' * 40}\n")
    assert master_keys(Secret(path=file)) == [b"a" * 32, b"b" * 40]
    file.write_text("hunter2 is too short")
    for secret in (None, Secret(path=file), Secret(path=tmp_path / "none")):
        with pytest.raises(ConfigurationError) as caught:
            master_keys(secret)
        assert "hunter2" not in str(caught.value)
        assert "service.pseudonym_key_file" in str(caught.value)
