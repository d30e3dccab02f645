"""What all entries of a stream, or with equal structured metadata, have in common: redacted and encoded once, kept in
bounded caches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from exporter.domain.ids import StreamHasher
from exporter.pipeline.encode import members
from exporter.pipeline.normalise import Normaliser
from exporter.pipeline.redact.fields import FieldPolicy
from exporter.pipeline.redact.values import ValueRedactor

#: Entries of a cache before it is emptied; about a kilobyte each. Emptying is simpler than evicting, and a tenant with
#: more live streams than this pays one extra scan per stream and batch.
MAX_CACHED = 8192


@dataclass(frozen=True, slots=True, repr=False)
class StreamParts:
    """A stream: its key on the bus, the members it adds to every event, and the canonical names these claim."""

    key: bytes
    encoded: bytes
    claimed: frozenset[str]
    redacted: bool
    #: What a field policy took from them, and what stands there now.
    removed: Mapping[str, str]


@dataclass(frozen=True, slots=True, repr=False)
class MetadataParts:
    """Structured metadata of an entry: encoded, and the canonical keys it tells."""

    encoded: bytes
    fields: dict[str, Any]
    redacted: bool
    removed: Mapping[str, str]


NO_METADATA = MetadataParts(b"{}", {}, redacted=False, removed={})


class StreamCache:
    """Makes and keeps the parts. Not thread-safe."""

    def __init__(
        self,
        tenant: str,
        identity_key: bytes,
        values: ValueRedactor,
        normaliser: Normaliser,
        policy: FieldPolicy | None = None,
    ) -> None:
        self._tenant = tenant
        self._identity_key = identity_key
        self._values = values
        self._label_fields = normaliser.label_fields
        self._policy = policy
        self._streams: dict[tuple[tuple[str, str], ...], StreamParts] = {}
        self._metadata: dict[tuple[tuple[str, str], ...], MetadataParts] = {}

    def clear(self) -> None:
        """Forget everything: tokens in it may not be used any more."""
        self._streams.clear()
        self._metadata.clear()

    def streams(self, labels: Sequence[Mapping[str, str]], counts: dict[str, int]) -> list[StreamParts]:
        """Return the parts of each stream, in order; all new ones are redacted in one scan."""
        keys = [tuple(item.items()) for item in labels]
        new = [k for k in dict.fromkeys(keys) if k not in self._streams]
        if len(self._streams) + len(new) > MAX_CACHED:
            self._streams.clear()
            new = list(dict.fromkeys(keys))
        objects = [dict(k) for k in new]
        for place, source, safe in zip(new, objects, self._values.redact_objects(objects, counts), strict=True):
            self._streams[place] = self._stream(source, *safe)
        return [self._streams[k] for k in keys]

    def _stream(self, labels: Mapping[str, str], encoded: bytes, redacted: bool) -> StreamParts:
        stream_id = StreamHasher(self._tenant, labels, self._identity_key).stream_id
        encoded, fields, removed = self._after_policy(encoded, "labels")
        head = b'"loki.stream":"%b","loki.labels":%b,' % (stream_id.encode(), encoded)
        claimed = frozenset(fields)
        return StreamParts(stream_id.encode(), head + members(fields), claimed, redacted or bool(removed), removed)

    def _after_policy(self, encoded: bytes, root: str) -> tuple[bytes, dict[str, Any], dict[str, str]]:
        """Return redacted labels or metadata after the field policies, encoded, what they tell, and what was taken."""
        safe = orjson.loads(encoded)
        if self._policy is None:
            return encoded, self._label_fields(safe), {}
        left, removed = self._policy.apply_map(safe, root)
        if removed:  # a cut value can be data that the whole was not
            left = self._values.redact(left, {})
        return orjson.dumps(left), self._policy.canonical(self._label_fields(left)), removed

    def metadata(self, maps: Sequence[Mapping[str, str]], counts: dict[str, int]) -> list[MetadataParts]:
        """Return the parts of each entry's metadata, in order. Equal maps are redacted once (Loki's own
        ``detected_level`` makes nearly all of them equal).
        """
        keys = [tuple(item.items()) for item in maps]
        new = [k for k in dict.fromkeys(keys) if k and k not in self._metadata]
        if len(self._metadata) + len(new) > MAX_CACHED:
            self._metadata.clear()
            new = [k for k in dict.fromkeys(keys) if k]
        for place, safe in zip(new, self._values.redact_objects([dict(k) for k in new], counts), strict=True):
            encoded, fields, removed = self._after_policy(safe[0], "metadata")
            self._metadata[place] = MetadataParts(encoded, fields, safe[1] or bool(removed), removed)
        return [self._metadata[k] if k else NO_METADATA for k in keys]
