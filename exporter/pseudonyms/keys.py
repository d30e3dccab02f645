"""Keys: the master key's lines, and for each tenant a key derived from them that seals what is stored."""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from exporter.domain.secrets import Secret, SecretError
from exporter.errors import ConfigurationError, Finding, PseudonymsUnavailable

#: A line of 32 characters holds 128 bits even when it is hexadecimal.
MIN_CHARS = 32
_ID_BYTES = 4
_NONCE_BYTES = 12  # what AES-GCM is specified for (NIST SP 800-38D section 8.2.2); random, as few values are sealed
_PATH = "service.pseudonym_key_file"


def master_keys(secret: Secret | None) -> list[bytes]:
    """Return the master key's lines, the one that seals first. Raises ConfigurationError."""
    if secret is None:
        cure = "Write a line of 32 or more random characters into a file (`openssl rand -hex 32`) and name it here."
        raise ConfigurationError([Finding(_PATH, "is missing, and a policy makes pseudonyms", cure)])
    try:
        lines = [line.strip() for line in secret.reveal().splitlines() if line.strip()]
    except SecretError as error:
        reason, _, cure = str(error).partition("; ")
        raise ConfigurationError([Finding(_PATH, reason, cure)]) from None
    if any(len(line) < MIN_CHARS for line in lines):
        reason = f"a line has less than {MIN_CHARS} characters"
        raise ConfigurationError([Finding(_PATH, reason, "Make one with `openssl rand -hex 32`.")])
    return [line.encode() for line in lines]


class Sealer:
    """Seals and opens what one tenant stores (AES-256-GCM). ``place`` is bound in: nothing sealed for one place opens at another."""

    def __init__(self, masters: list[bytes], tenant: str) -> None:
        self._ciphers: dict[bytes, AESGCM] = {}
        for master in masters:
            derived = HKDF(SHA256(), 32, None, b"loki-siem pseudonyms v1\0" + tenant.encode()).derive(master)
            self._ciphers[hmac.digest(derived, b"key id", "sha256")[:_ID_BYTES]] = AESGCM(derived)
        self._first = next(iter(self._ciphers))

    def seal(self, place: bytes, secret: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return self._first + nonce + self._ciphers[self._first].encrypt(nonce, secret, place)

    def open(self, place: bytes, sealed: bytes) -> bytes:
        """Raises PseudonymsUnavailable when no line of the master key sealed it, or it was changed."""
        head = _ID_BYTES + _NONCE_BYTES
        cipher = self._ciphers.get(sealed[:_ID_BYTES])
        try:
            if cipher is not None:
                return cipher.decrypt(sealed[_ID_BYTES:head], sealed[head:], place)
        except InvalidTag:
            pass
        raise PseudonymsUnavailable(
            "a stored salt does not open with service.pseudonym_key_file",
            hint="put the line that sealed it back as a further line of that file, or shred the epoch",
        )
