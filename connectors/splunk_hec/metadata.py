"""Metadata of an event: host, source, sourcetype, index and indexed fields, the same for all events or from templates."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from connectors.splunk_hec.settings import SplunkHecSettings
from connectors.splunk_hec.templates import TENANT, Template, keys_of

_COLUMNS = ("host", "source", "sourcetype", "index")
#: Different metadata kept ready; services have some hundreds, and a template over something endless must not fill memory.
MAX_KEPT = 4096


@dataclass(slots=True)
class Metadata:
    """``values`` of the four columns, None for what is left to the token, and the indexed fields."""

    values: tuple[str | None, ...]
    fields: dict[str, str]
    _middle: bytes = field(init=False)
    _with_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        columns = orjson.dumps(self.columns())[1:-1]
        before = b"," + columns if columns else b""
        fields = orjson.dumps(self.fields)[1:-1]
        inner = b"," + fields if fields else b""
        self._middle = before + (b',"fields":{' + fields + b"}" if fields else b"") + b',"event":'
        self._with_id = (
            (before + b',"fields":{"event_id":"').replace(b"%", b"%%")
            + b'%b"'
            + (inner + b'},"event":').replace(b"%", b"%%")
        )

    @property
    def index(self) -> str | None:
        return self.values[3]

    def columns(self) -> dict[str, str]:
        """Return the columns that have a value."""
        return {name: value for name, value in zip(_COLUMNS, self.values, strict=True) if value is not None}

    def middle(self, event_id: str | None = None) -> bytes:
        """Return what stands in an envelope between time and event. A text has no room for its id, so that can be put
        beside it as an indexed field.
        """
        return self._middle if event_id is None else self._with_id % event_id.encode()


class MetadataOf:
    """Metadata of one target's events."""

    def __init__(self, settings: SplunkHecSettings) -> None:
        texts = [settings.host, settings.source, settings.sourcetype, settings.index]
        self._columns = [None if text is None else Template(text) for text in texts]
        self._fields = {name: Template(text) for name, text in settings.fields.items()}
        self._allowed = settings.allowed_indexes
        keys = keys_of([*filter(None, self._columns), *self._fields.values()])
        self._by_tenant = keys <= {TENANT}
        self._kept: dict[tuple[str | None, ...], Metadata] = {}

    def of_tenant(self, tenant: str) -> Metadata | None:
        """Return the metadata of all events of a tenant, None where events of one tenant differ."""
        return self._of({TENANT: tenant}) if self._by_tenant else None

    def of_event(self, value: bytes) -> Metadata:
        """Return the metadata of a canonical event. Raises ValueError when it is none."""
        event = orjson.loads(value)
        if not isinstance(event, dict):
            raise ValueError("not a canonical event")  # noqa: TRY004 - what encoders raise for bad events
        return self._of(event)

    def _of(self, event: dict[str, object]) -> Metadata:
        columns = [None if template is None else template.render(event) for template in self._columns]
        if self._allowed and columns[3] not in self._allowed:
            columns[3] = self._allowed[0]
        fields = [template.render(event) for template in self._fields.values()]
        key = (*columns, *fields)
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            found = self._kept[key] = Metadata(tuple(columns), dict(zip(self._fields, fields, strict=True)))
        return found
