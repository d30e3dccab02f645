"""What a privacy officer asks of the store: all tokens of a person, deletion of a person or of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.pipeline.redact.actions import address_of
from exporter.pseudonyms.keys import Sealer
from exporter.pseudonyms.store import Place, SaltStore
from exporter.pseudonyms.vault import address_crypt, key_place, letters_of, salt_place, token_letters


@dataclass(frozen=True, slots=True)
class Known:
    """A token that a value had in an epoch."""

    epoch: str
    kind: str
    token: str


def epochs(store: SaltStore) -> dict[str, int]:
    """Return every epoch that has a key or salts, with its number of salts."""
    counts: dict[str, int] = {}
    for place in store.places(b""):
        name, _, rest = place.partition(b"/")
        counts[name.decode()] = counts.get(name.decode(), 0) + rest.startswith(b"s/")
    return dict(sorted(counts.items()))


def tokens(store: SaltStore, sealer: Sealer, kinds: list[str], value: bytes) -> list[Known]:
    """Return all tokens of a value, over all epochs and the given kinds. Raises PseudonymsUnavailable."""
    known = []
    for place, (epoch, kind) in _places(store, sealer, kinds, value).items():
        if (sealed := store.get([place]).get(place)) is not None:
            known.append(Known(epoch, kind, token_letters(sealer.open(place, sealed), kind)))
    return known


def address_tokens(store: SaltStore, sealer: Sealer, value: bytes) -> list[Known]:
    """Return what ``ip_prefix`` and ``ip_token`` make of an IP address in every epoch; nothing for another value. These depend
    on the epoch's key alone: whether the address ever occurred is not known.
    """
    packed = address_of(value)
    if packed is None:
        return []
    known = []
    for epoch, key in _keys(store, sealer).items():
        crypt = address_crypt(key)
        made = (crypt.prefix_preserving(packed), crypt.deterministic(packed))
        known += [Known(epoch, "ip", letters_of(raw)) for raw in made]
    return known


def forget(store: SaltStore, sealer: Sealer, kinds: list[str], value: bytes) -> int:
    """Delete a value's salts in all epochs; return how many there were. Afterwards nobody can compute its tokens."""
    return store.delete(_places(store, sealer, kinds, value))


def shred(store: SaltStore, epoch: str) -> int:
    """Delete an epoch's key and salts; return how many records there were."""
    return store.delete(store.places(epoch.encode() + b"/"))


def _keys(store: SaltStore, sealer: Sealer) -> dict[str, bytes]:
    """Return the key of every epoch that has one."""
    places = {name: key_place(name) for name in epochs(store)}
    sealed = store.get(places.values())
    return {name: sealer.open(place, sealed[place]) for name, place in places.items() if place in sealed}


def _places(store: SaltStore, sealer: Sealer, kinds: list[str], value: bytes) -> dict[Place, tuple[str, str]]:
    return {
        salt_place(epoch, key, kind, value): (epoch, kind)
        for epoch, key in _keys(store, sealer).items()
        for kind in dict.fromkeys(kinds)
    }
