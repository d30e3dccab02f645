r"""Redact parsed values one by one: the careful way, for what the block scan of a raw text cannot settle.

A JSON number that is a card number cannot be replaced in the text without breaking it; an escape (``\u0040``) hides an
at sign from a scan of the text; a secret may be a list. So keys, strings and numbers are taken out, scanned decoded, and
put back; whatever stands under a key that names a secret is masked whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from exporter.pipeline.redact.actions import is_mark
from exporter.pipeline.redact.engine import Redactor, mend_surrogates

#: Keys whose verdict is remembered.
_MAX_KEYS = 8192
#: A value that nobody takes for a word that tells nothing.
_PROBE = b"Zq1xZq2yZq3z"


def _text_of(value: Any) -> str:
    """Return a number, list or object as the text that a pseudonym is made of."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


class ValueRedactor:
    """Walks values. Not thread-safe."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._key_rules: dict[str, int | None] = {}

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
        unknown = [key for key in keys if key not in self._key_rules]
        if len(self._key_rules) + len(unknown) > _MAX_KEYS:
            self._key_rules.clear()
            unknown = list(keys)
        self._key_rules.update(zip(unknown, map(self._rule_of, unknown), strict=True))

    def _rule_of(self, key: str) -> int | None:
        """Return the rule that takes what stands beside this key for its own, None when none does."""
        before = orjson.dumps(mend_surrogates(key)) + b':"'
        at, end = len(before), len(before) + len(_PROBE)
        spans = self._redactor.spans(before + _PROBE + b'"', b"\n")
        return next((index for first, last, index in spans if first <= at and last >= end), None)

    def _mask_of(self, key: str, value: Any) -> str | None:
        """Return the mask of a value under this key, None when the key is harmless or the value tells nothing."""
        index = self._key_rules[key]
        if index is None or value is None or value == "" or type(value) is bool:
            return None
        if type(value) is not str:
            return self._redactor.replacement(index, _text_of(value))
        return None if is_mark(value.encode("utf-8", "replace")) else self._redactor.replacement(index, value)

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
