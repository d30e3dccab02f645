"""The pseudonyms of one tenant: values to tokens, in one round trip to the store for all that are new.

A token is given out only after its salt is durable in the store, so no event can be committed whose token another worker, or this one
after a crash, would make differently.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable

from exporter.pseudonyms.canonical import canonical
from exporter.pseudonyms.epochs import Epoch, Unit, epoch_at
from exporter.pseudonyms.ipcrypt import IpCrypt
from exporter.pseudonyms.keys import Sealer
from exporter.pseudonyms.store import Place, SaltStore

SALT_BYTES = 16
KEY_BYTES = 32
#: Letters of a token: no vowels, so that none spells a word, and no digits, so that no rule for numbers sees one.
ALPHABET = "bcdfghjklmnpqrst"
#: 16 letters are 64 bits: of a hundred million persons the chance that any two share a token is below 0.1 %.
TOKEN_LETTERS = 16
#: Values remembered, some 200 bytes each; emptied when full, which costs one look-up in the store for each still in use.
MAX_CACHED = 65_536
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]


def letters_of(raw: bytes) -> str:
    """Return two letters a byte."""
    return "".join(map(_PAIRS.__getitem__, raw))


def token_letters(salt: bytes, kind: str) -> str:
    """Return the token that a salt makes."""
    return letters_of(hmac.digest(salt, kind.encode(), "sha256"))[:TOKEN_LETTERS]


def key_place(epoch: str) -> Place:
    return epoch.encode() + b"/k"


def address_crypt(key: bytes) -> IpCrypt:
    """Return what enciphers addresses under an epoch's key."""
    return IpCrypt(hmac.digest(key, b"ipcrypt", "sha256"))


def salt_place(epoch: str, key: bytes, kind: str, value: bytes) -> Place:
    """Return where the salt of a value stands."""
    return epoch.encode() + b"/s/" + hmac.digest(key, kind.encode() + b"\0" + canonical(kind, value), "sha256")


class Vault:
    """See ``exporter.pipeline.redact.actions.Tokens``. Used by one thread at a time."""

    def __init__(self, store: SaltStore, sealer: Sealer, unit: Unit) -> None:
        self._store, self._sealer, self._unit = store, sealer, unit
        self._epoch = Epoch("", 0, 0)
        self._generation = -1
        self._key = b""
        self._crypt: IpCrypt | None = None
        self._letters: dict[tuple[str, bytes], str] = {}
        self._addresses: dict[tuple[bytes, bool], str] = {}

    def begin(self, time_ns: int) -> None:
        """Take the epoch of a time, and forget what was deleted meanwhile. Asks the store once, without a round trip on Kafka.

        Raises PseudonymsUnavailable.
        """
        generation = self._store.generation()
        if generation == self._generation and self._epoch.start_ns <= time_ns < self._epoch.end_ns:
            return
        epoch = epoch_at(time_ns, self._unit)
        place = key_place(epoch.name)
        sealed = self._store.get([place]).get(place)
        if sealed is None:
            sealed = self._store.add({place: self._sealer.seal(place, os.urandom(KEY_BYTES))})[place]
        self._key = self._sealer.open(place, sealed)
        self._crypt = address_crypt(self._key)
        self._letters.clear()
        self._addresses.clear()
        self._epoch, self._generation = epoch, generation

    def end_ns(self) -> int:
        """Return where the epoch ends."""
        return self._epoch.end_ns

    def stamp(self) -> object:
        """Return what changes with the epoch and with every deletion."""
        return self._epoch.name, self._generation

    def learn(self, values: Iterable[tuple[str, bytes]]) -> None:
        """Find or make the tokens of (kind, value). Raises PseudonymsUnavailable."""
        new = [item for item in values if item not in self._letters]
        if not new:
            return
        places = {item: salt_place(self._epoch.name, self._key, *item) for item in new}
        stored = self._store.get(dict.fromkeys(places.values()))
        missing = {place for place in places.values() if place not in stored}
        if missing:
            stored |= self._store.add({p: self._sealer.seal(p, os.urandom(SALT_BYTES)) for p in missing})
        if len(self._letters) + len(new) > MAX_CACHED:
            self._letters.clear()
        for item, place in places.items():
            self._letters[item] = token_letters(self._sealer.open(place, stored[place]), item[0])

    def letters(self, kind: str, value: bytes) -> str:
        """Return the token of a value. Raises PseudonymsUnavailable."""
        item = (kind, value)
        found = self._letters.get(item)
        if found is None:
            self.learn([item])
            found = self._letters[item]
        return found

    def address_letters(self, packed: bytes, *, keep_prefix: bool) -> str:
        """Return the letters of an encrypted address: 8 or 32; without the prefix always 32."""
        item = (packed, keep_prefix)
        found = self._addresses.get(item)
        if found is None:
            if self._crypt is None:
                raise RuntimeError("begin was not called")
            crypt = self._crypt.prefix_preserving if keep_prefix else self._crypt.deterministic
            if len(self._addresses) >= MAX_CACHED:
                self._addresses.clear()
            found = self._addresses[item] = letters_of(crypt(packed))
        return found

    def close(self) -> None:
        """Let go of the store's files and connections."""
        self._store.close()
