"""An envelope and the record in it become one set of fields."""

from __future__ import annotations

from typing import Any

from exporter.pipeline.parse import MAX_KEYS, OverBound, Sourced

#: Where an envelope's key goes that the record has too. The rest of the sources are containers' or programs' (``log.``).
_PREFIXES = {"syslog": "syslog."}
#: Keys that say how grave a record is. With one of them in it, the envelope's level is only that of the transport.
_LEVELS = frozenset(("level", "severity", "severity.text", "lvl", "loglevel", "log.level", "deviceSeverity", "sev"))
_MESSAGES = frozenset(("message", "msg"))


def merge(envelope: Sourced, message_key: str, inner: Sourced) -> Sourced:
    """Return the fields of both, named as from the inner source; the envelope's message gives way to the record.

    Of a JSON envelope whose message is only pairs (``"msg":"user=bob ok=true"``) the message stays as well.
    Raises OverBound.
    """
    outer, keys, values = envelope
    source, inner_keys, inner_values = inner
    prefix = _PREFIXES.get(outer, "log.")
    taken = set(inner_keys)
    keeps_message = outer == "json" and source in {"logfmt", "kv"} and taken.isdisjoint(_MESSAGES)
    has_level = not taken.isdisjoint(_LEVELS)
    fields: dict[str, Any] = {}
    for key, value in zip(keys, values, strict=True):
        if key == message_key and not keeps_message:
            continue
        name = prefix + key if key in taken or (has_level and key in _LEVELS) else key
        while name in taken:
            name = prefix + name
        taken.add(name)
        fields[name] = value
    fields |= zip(inner_keys, inner_values, strict=True)
    if len(fields) > MAX_KEYS:
        raise OverBound
    return source, tuple(fields), tuple(fields.values())
