"""Encrypted IP addresses: ``ipcrypt-pfx`` (networks stay networks) and ``ipcrypt-deterministic``.

After draft-denis-ipcrypt-12, sections "ipcrypt-pfx" and "ipcrypt-deterministic"; tested against its vectors. Both are
reversible with the key, so the key is the epoch's and goes when the epoch is shredded.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

#: ::ffff:0:0/96, under which an IPv4 address stands in 16 bytes (RFC 4291 section 2.5.5.2).
_MAPPED = bytes(10) + b"\xff\xff"
_BLOCK = 16


class IpCrypt:
    """One key. Addresses are 4 or 16 bytes, as ``packed`` of :mod:`ipaddress` has them."""

    def __init__(self, key: bytes) -> None:
        """``key``: 32 bytes whose halves differ (``ipcrypt-deterministic`` takes the first half)."""
        halves = key[:_BLOCK], key[_BLOCK : 2 * _BLOCK]
        if len(key) != 2 * _BLOCK or halves[0] == halves[1]:
            raise ValueError("a key has 32 bytes whose halves differ")
        # One block is enciphered at a time, each for itself: what ECB is.
        self._ciphers = [Cipher(algorithms.AES(half), modes.ECB()).encryptor() for half in halves]  # noqa: S305

    def prefix_preserving(self, packed: bytes) -> bytes:
        """Return as many bytes as came. Two addresses with the first n bits alike keep exactly those alike."""
        first = 96 if len(packed) == 4 else 0
        bits = int.from_bytes(packed, "big")
        count = len(packed) * 8
        # The prefix before each bit, behind a separating one; for IPv4 the mapped prefix is part of it.
        padded = int.from_bytes(_MAPPED, "big") | (1 << first) if first else 1
        blocks = []
        for position in range(count):
            blocks.append((padded & (1 << 128) - 1).to_bytes(_BLOCK, "big"))
            padded = padded << 1 | bits >> (count - 1 - position) & 1
        joined = b"".join(blocks)
        one, two = (cipher.update(joined) for cipher in self._ciphers)
        keystream = 0
        for end in range(_BLOCK - 1, len(joined), _BLOCK):
            keystream = keystream << 1 | (one[end] ^ two[end]) & 1
        return (bits ^ keystream).to_bytes(len(packed), "big")

    def deterministic(self, packed: bytes) -> bytes:
        """Return 16 bytes that tell nothing of the network."""
        return self._ciphers[0].update(_MAPPED + packed if len(packed) == 4 else packed)
