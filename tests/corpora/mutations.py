"""Ways in which a value may be written in logs without being the value: one row a mutation."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}  # Unicode: halfwidth and fullwidth forms


def _escaped(text: str) -> str:
    return "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in text)


def _entities(text: str) -> str:
    return "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text)


#: Detectors whose values stay what they are in other letters.
CASELESS = frozenset(
    [
        "email",
        "ipv6",
        "iban",
        "mac",
        "mac-dotted",
        "pension-number",
        "phone",
        "tax-id",
        "http-cookie",
        "bearer",
        "url-login",
    ]
)
#: mutation → how it writes (before, value, after); the second text is what must not be left
Written = tuple[str, str]
MUTATIONS: dict[str, Callable[[str, str, str], Written]] = {
    "percent": lambda b, v, a: (quote(b + v + a, safe=""), quote(v, safe="")),
    "percent twice": lambda b, v, a: (quote(quote(b + v + a, safe=""), safe=""), quote(quote(v, safe=""), safe="")),
    "JSON escapes": lambda b, v, a: (_escaped(b + v + a), _escaped(v)),
    "JSON in JSON": lambda b, v, a: (json.dumps(json.dumps(b + v + a)), json.dumps(json.dumps(v)[1:-1])[1:-1]),
    "HTML entities": lambda b, v, a: (_entities(b + v + a), _entities(v)),
    "base64": lambda b, v, a: (base64.b64encode((b + v + a).encode()).decode(),) * 2,
    "upper case": lambda b, v, a: ((b + v + a).upper(), v.upper()),
    "lower case": lambda b, v, a: ((b + v + a).lower(), v.lower()),
    "embedded": lambda b, v, a: (f"xx {b}{v}{a}", v),
    "embedded in brackets": lambda b, v, a: (f"[{b}{v}{a}]", v),
    "embedded after escape": lambda b, v, a: (f"line\\n{b}{v}{a}\\tnext", v),
    "embedded after equals": lambda b, v, a: (f"x={b}{v}{a};", v),
    "full width": lambda b, v, a: (b + v.translate(_WIDE) + a, v.translate(_WIDE)),
}
