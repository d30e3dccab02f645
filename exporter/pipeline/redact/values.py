r"""Redact parsed values one by one: the careful way, for what the block scan of a raw text cannot settle.

A JSON number that is a card number cannot be replaced in the text without breaking it; an escape (``\u0040``) hides an
at sign from a scan of the text; a secret may be a list. So keys, strings and numbers are taken out, scanned decoded, and
put back; whatever stands under a key that names a secret is masked whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from exporter.pipeline.redact.engine import Redactor, mend_surrogates

#: Keys whose verdict is remembered.
_MAX_KEYS = 8192
#: A value that nobody takes for a word that tells nothing.
_PROBE = "Zq1xZq2yZq3z"


class ValueRedactor:
    """Walks values. Not thread-safe."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._masks = {rule.action.replace(b"").decode() for rule in redactor.rules}
        self._key_masks: dict[str, str | None] = {}

    def redact(self, value: Any, counts: dict[str, int]) -> Any:
        """Return the value with every key, string and number redacted. Depth is bounded by the parsers."""
        self._learn_keys(value)
        texts: list[str] = []
        self._collect(value, texts)
        return self._rebuild(value, iter(self._redactor.settled(texts, counts).texts))

    def redact_objects(self, objects: Sequence[Mapping[str, str]], counts: dict[str, int]) -> list[tuple[bytes, bool]]:
        """Return each flat string map as redacted JSON, and whether it was changed."""
        sources = [{mend_surrogates(k): mend_surrogates(v) for k, v in item.items()} for item in objects]
        done = self._redactor.redact([orjson.dumps(source).decode() for source in sources], counts)
        changed = set(done.changed)
        out: list[tuple[bytes, bool]] = []
        for row, text in enumerate(done.texts):
            if row not in changed and "\\" not in text:
                out.append((text.encode(), False))
            else:
                safe = self.redact(sources[row], {})
                out.append((orjson.dumps(safe), safe != sources[row]))
        return out

    def _learn_keys(self, value: Any) -> None:
        """Find out for every key that is not known yet whether the rules take what stands beside it for a secret."""
        keys: dict[str, None] = {}
        todo = [value]
        while todo:
            item = todo.pop()
            if type(item) is dict:
                keys.update(dict.fromkeys(item))
                todo.extend(item.values())
            elif type(item) is list:
                todo.extend(item)
        unknown = [key for key in keys if key not in self._key_masks]
        if len(self._key_masks) + len(unknown) > _MAX_KEYS:
            self._key_masks.clear()
            unknown = list(keys)
        probes = [f'"{key}":"{_PROBE}"' for key in unknown]
        for key, probe in zip(unknown, self._redactor.redact(probes, {}).texts, strict=True):
            hidden = _PROBE not in probe
            self._key_masks[key] = probe.rsplit(":", 1)[1].strip('"') if hidden else None

    def _mask_of(self, key: str, value: Any) -> str | None:
        """Return the mask of a value under this key, None when the key is harmless or the value tells nothing."""
        if value is None or value == "" or type(value) is bool or (type(value) is str and value in self._masks):
            return None
        return self._key_masks[key]

    def _collect(self, value: Any, texts: list[str]) -> None:
        if type(value) is dict:
            for key, item in value.items():
                texts.append(key)
                if self._mask_of(key, item) is None:
                    self._collect(item, texts)
        elif type(value) is list:
            for item in value:
                self._collect(item, texts)
        elif type(value) is str:
            texts.append(value)
        elif type(value) is int or type(value) is float:
            texts.append(repr(value))

    def _rebuild(self, value: Any, texts: Iterator[str]) -> Any:
        if type(value) is dict:
            return self._rebuild_object(value, texts)
        if type(value) is list:
            return [self._rebuild(item, texts) for item in value]
        if type(value) is str:
            return next(texts)
        if type(value) is int or type(value) is float:
            text = next(texts)
            return value if text == repr(value) else text
        return value

    def _rebuild_object(self, value: dict[str, Any], texts: Iterator[str]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, item in value.items():
            name = next(texts)
            mask = self._mask_of(key, item)
            inner = self._rebuild(item, texts) if mask is None else mask
            if name in out:
                # Only keys that became the same mask meet here; all values are kept.
                before = out[name]
                inner = [*before, inner] if type(before) is list else [before, inner]
            out[name] = inner
        return out
