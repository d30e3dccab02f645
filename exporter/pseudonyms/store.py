"""The port of the store of salts: one tenant's records, first writer wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

#: A place is ``<epoch>/k`` (the epoch's key) or ``<epoch>/s/<32 bytes of index>`` (a salt).
Place = bytes


class SaltStore(Protocol):
    """Sealed records of one tenant. Used by one thread at a time; several processes may have one open on the same records.

    All methods raise PseudonymsUnavailable.
    """

    def get(self, places: Iterable[Place]) -> dict[Place, bytes]:
        """Return the records that are there."""
        ...

    def add(self, records: Mapping[Place, bytes]) -> dict[Place, bytes]:
        """Store each unless its place is taken, and return what stands at every place: of several writers at once all
        get the same. Durable when it returns.
        """
        ...

    def places(self, prefix: bytes) -> list[Place]:
        """Return the taken places that begin so."""
        ...

    def delete(self, places: Iterable[Place]) -> int:
        """Remove records for good; return how many were there. Nothing of them is left in the store when it returns (on Kafka:
        once the topic was compacted).
        """
        ...

    def generation(self) -> int:
        """Return a number that rises with every deletion, by whatever process."""
        ...

    def close(self) -> None: ...
