"""What values stand in: one row a context. Hold-out contexts are kept from ``--misses``, so
that rules are not tuned on them. (In the first round they were seen, and one rule, mac-dotted, was mended for one of them.)"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote


def _same(text: str) -> str:
    return text


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _logfmt(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


@dataclass(frozen=True, slots=True)
class Context:
    """``template`` with ``{}`` for the text, or with ``{key}`` and ``{value}``; ``escape`` is how texts are written in it."""

    name: str
    template: str
    escape: Callable[[str], str] = _same
    hold_out: bool = False


CONTEXTS = (
    Context("json", '{{"ts":"2026-11-24T10:00:00Z","level":"info","msg":"{}","n":17}}', _json),
    Context("json-sentence", '{{"message":"request of {} was refused","status":403,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}}', _json),
    Context("logfmt", 'time=2026-11-24T10:00:00Z level=info msg="{}" dur=12ms', _logfmt),
    Context("text", "2026-11-24 10:00:00,123 INFO [main] c.e.Shop - saw {} in the form"),
    Context("brackets", "warn: value ({}) is not allowed; retry 3"),
    Context("end", "Nov 24 10:00:00 web-1 app[4711]: {}"),
    Context("xml", "<event><data>{}</data><n>3</n></event>", html.escape),
    Context("header", "> X-Debug: {}"),
    Context("quoted", "msg='{}' next=1"),
    Context("json-nested", '{{"log":"{{\\"msg\\":\\"{}\\",\\"n\\":1}}","stream":"stdout"}}', lambda text: _json(_json(text))),
    Context("comma", "17,{},ok,2026", hold_out=True),
    Context("tab", "2026-11-24\t{}\tdone", hold_out=True),
    Context("colon", "ERROR rejected: {} (code 17)", hold_out=True),
    Context("array", '{{"args":["-v","{}","x"],"pid":12}}', _json, hold_out=True),
    Context("pipe", "a|{}|b", hold_out=True),
    Context("stop", "The customer gave {}. Then the call ended.", hold_out=True),
)  # fmt: skip

PAIR_CONTEXTS = (
    Context("json", '{{"n":1,"{key}":"{value}","m":"x"}}'),
    Context("json-space", '{{"n": 1, "{key}": "{value}"}}'),
    Context("logfmt", "level=info {key}={value} n=1"),
    Context("logfmt-quoted", 'level=info {key}="{value}" n=1'),
    Context("yaml", "{key}: {value}"),
    Context("xml", "<a><{key}>{value}</{key}></a>"),
    Context("query", "GET /cb?x=1&{key}={value}&y=2 HTTP/1.1", quote),
    Context("json-nested", '{{"log":"{{\\"{key}\\":\\"{value}\\"}}"}}'),
    Context("repr", "{{'n': 1, '{key}': '{value}', 'm': None}}", hold_out=True),
    Context("java", "User(id=3, {key}={value}, active=true)", hold_out=True),
    Context("object", "state {{ {key}: '{value}', n: 1 }}", hold_out=True),
    Context("env", "HOME=/root {key}={value} PATH=/bin", hold_out=True),
)
