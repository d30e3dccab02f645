"""What a privacy officer asks of the store: all tokens of a person, deletion of a person or of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.pseudonyms.keys import Sealer
from exporter.pseudonyms.store import Place, SaltStore
from exporter.pseudonyms.vault import key_place, salt_place, token_letters


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


def forget(store: SaltStore, sealer: Sealer, kinds: list[str], value: bytes) -> int:
    """Delete a value's salts in all epochs; return how many there were. Afterwards nobody can compute its tokens."""
    return store.delete(_places(store, sealer, kinds, value))


def shred(store: SaltStore, epoch: str) -> int:
    """Delete an epoch's key and salts; return how many records there were."""
    return store.delete(store.places(epoch.encode() + b"/"))


def _places(store: SaltStore, sealer: Sealer, kinds: list[str], value: bytes) -> dict[Place, tuple[str, str]]:
    names = list(epochs(store))
    keys = store.get([key_place(name) for name in names])
    opened = {name: sealer.open(place, keys[place]) for name in names if (place := key_place(name)) in keys}
    return {
        salt_place(epoch, key, kind, value): (epoch, kind)
        for epoch, key in opened.items()
        for kind in dict.fromkeys(kinds)
    }
