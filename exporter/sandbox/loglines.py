"""Seeded log lines: what a small company's services write, with personal data and secrets planted on purpose.

Every planted value is recorded with its kind and place, so that a leak check can search all output for it. All values are
made up: reserved domains (RFC 2606), documentation networks (RFC 5737, RFC 3849), account and card numbers that only
satisfy their check digits. ``exporter.sandbox.generator`` pushes these entries to a Loki.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

Place = Literal["line", "json_value", "json_key", "json_number", "logfmt_value", "access_log", "label", "metadata"]

_FIRST = [
    "anna",
    "bob",
    "carla",
    "dieter",
    "eva",
    "frank",
    "grace",
    "hugo",
    "ines",
    "jan",
    "karl",
    "lena",
    "mike",
    "nora",
    "olaf",
    "petra",
]
_LAST = [
    "mueller",
    "smith",
    "rossi",
    "weber",
    "jones",
    "garcia",
    "novak",
    "larsen",
    "dubois",
    "meyer",
    "fischer",
    "kim",
    "patel",
    "silva",
]
_DOMAINS = ("example.com", "mail.example.org", "corp.example.net", "kunden.example.de")
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")  # RFC 5737
_LEVELS = ["info"] * 14 + ["debug"] * 3 + ["warn"] * 2 + ["error"]
_METHODS = ["GET"] * 12 + ["POST"] * 5 + ["PUT", "DELETE", "PATCH"]
_STATUSES = [200] * 16 + [201, 204, 301, 400, 404, 404, 500]
_PATHS = ("/api/v1/orders", "/api/v1/users/profile", "/api/v2/search", "/healthz", "/login", "/api/v1/payments/intent")
_AGENTS = ("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", "curl/8.5.0", "okhttp/4.12.0")
_MESSAGES = (
    "request completed", "cache miss, falling back to primary store", "user session refreshed",
    "retrying upstream call after timeout", "slow query detected on replica", "message published to queue",
    "background job finished", "feature flag evaluated for tenant", "connection returned to pool",
)  # fmt: skip
_SENTENCES = {
    "email": "could not send receipt to {}", "ipv4": "connection from {} refused", "ipv6": "peer {} left the mesh",
    "iban": "refund sent to account {} as agreed", "card": "card {} declined by the issuer",
    "bearer": "upstream sent Authorization: Bearer {}", "basic": "proxy header Authorization: Basic {}",
    "aws_key": "using key {} for the upload", "password": "login failed with password={}",
}  # fmt: skip
#: Applications and the format each one writes.
_APPS = (
    ("checkout", "json"), ("billing", "json"), ("auth", "logfmt"), ("search", "logfmt"), ("gateway", "access"),
    ("notify", "text"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planted:
    """One value that must not leave the exporter. ``value`` is written exactly as it stands in the entry."""

    kind: str
    place: Place
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class Generated:
    """One entry with what was planted in it."""

    labels: dict[str, str]
    time_ns: int
    line: str
    metadata: dict[str, str] | None
    planted: tuple[Planted, ...]


class Values:
    """Made-up personal data and secrets that pass the usual validators."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.makers: dict[str, Callable[[], str]] = {
            "email": self.email, "ipv4": self.ipv4, "ipv6": self.ipv6, "iban": self.iban, "card": self.card,
            "bearer": self.bearer, "basic": self.basic, "aws_key": self.aws_key, "password": self.password,
        }  # fmt: skip

    def email(self) -> str:
        rng = self._rng
        return f"{rng.choice(_FIRST)}.{rng.choice(_LAST)}{rng.randrange(100_000)}@{rng.choice(_DOMAINS)}"

    def ipv4(self) -> str:
        return f"{self._rng.choice(_NETWORKS)}.{self._rng.randrange(1, 255)}"

    def ipv6(self) -> str:
        return "2001:db8:" + ":".join(f"{self._rng.randrange(0x1000, 0xFFFF):x}" for _ in range(6))  # RFC 3849

    def iban(self) -> str:
        country, digits = self._rng.choice((("DE", 18), ("AT", 16), ("CH", 17)))
        account = "".join(self._rng.choices("0123456789", k=digits))
        number = int(account + "".join(str(ord(c) - 55) for c in country) + "00")
        return f"{country}{98 - number % 97:02d}{account}"  # ISO 13616, modulo 97

    def card(self) -> str:
        digits = [4, *(self._rng.randrange(10) for _ in range(14))]
        doubled = [d * 2 - 9 * (d > 4) if i % 2 == 0 else d for i, d in enumerate(digits)]
        return "".join(map(str, digits)) + str(-sum(doubled) % 10)  # Luhn

    def bearer(self) -> str:
        return base64.urlsafe_b64encode(self._rng.randbytes(30)).decode()

    def basic(self) -> str:
        return base64.b64encode(f"{self._rng.choice(_FIRST)}:{self.password()}".encode()).decode()

    def aws_key(self) -> str:
        return "AKIA" + "".join(self._rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=16))

    def password(self) -> str:
        return "".join(self._rng.choices("abcdefghkmnpqrstuvwxyzABCDEFGHKMNPQRSTUVWXYZ23456789", k=14))


class LogGenerator:
    """An endless, seeded stream of entries of one tenant. The same seed and times give the same entries.

    ``pii_share``: how many of the entries carry planted values (each then one or more).
    """

    def __init__(self, seed: int, *, tenant: str = "demo", pods: int = 4, pii_share: float = 0.3) -> None:
        self._rng = random.Random(f"{seed}/{tenant}")
        self._values = Values(self._rng)
        self._pii_share = pii_share
        self._planted: list[Planted] = []
        self._streams = [(self._labels(tenant, app, pod), format_) for app, format_ in _APPS for pod in range(pods)]
        owner = self._plant("email", "label")
        self._owner = Planted("email", "label", owner)
        self._streams.append(({**self._labels(tenant, "crm", 0), "owner": owner}, "json"))
        self._count = 0

    def _labels(self, tenant: str, app: str, pod: int) -> dict[str, str]:
        return {"job": f"{tenant}/{app}", "app": app, "namespace": tenant, "pod": f"{app}-{pod}"}

    def entry(self, time_ns: int) -> Generated:
        """Return the next entry, stamped with this time."""
        self._count += 1
        self._planted = []
        labels, format_ = self._rng.choice(self._streams)
        if "owner" in labels:
            self._planted.append(self._owner)
        line = self._WRITERS[format_](self, time_ns)
        metadata = {"trace_id": f"{self._rng.getrandbits(128):032x}"} if self._rng.random() < 0.2 else None
        if self._chance(0.1):
            metadata = {**(metadata or {}), "user_email": self._plant("email", "metadata")}
        return Generated(labels, time_ns, line, metadata, tuple(self._planted))

    def entries(self, count: int, start_ns: int, step_ns: int = 1_000_000) -> Iterator[Generated]:
        """Return that many entries, evenly spaced."""
        return (self.entry(start_ns + i * step_ns) for i in range(count))

    # --- building blocks --------------------------------------------------------------------------------------------

    def _chance(self, share: float = 1.0) -> bool:
        return self._rng.random() < self._pii_share * share

    def _plant(self, kind: str, place: Place) -> str:
        value = self._values.makers[kind]()
        self._planted.append(Planted(kind, place, value))
        return value

    def _message(self, place: Place = "line") -> str:
        message = self._rng.choice(_MESSAGES)
        if self._chance(0.4):
            kind = self._rng.choice(list(_SENTENCES))
            message += "; " + _SENTENCES[kind].format(self._plant(kind, place))
        return message

    def _user(self, place: Place) -> str:
        return self._plant("email", place) if self._chance() else f"u{self._rng.randrange(100_000):06d}"

    def _address(self, place: Place) -> str:
        return self._plant("ipv4", place) if self._chance() else f"node-{self._rng.randrange(400):03d}"

    def _json(self, time_ns: int) -> str:
        rng = self._rng
        record: dict[str, object] = {
            "timestamp": _rfc3339(time_ns),
            "level": rng.choice(_LEVELS),
            "msg": self._message("json_value"),
            "request_id": f"{self._count:08x}-{rng.getrandbits(48):012x}",
            "src": self._address("json_value"),
            "user": self._user("json_value"),
            "http": {
                "method": rng.choice(_METHODS),
                "path": rng.choice(_PATHS),
                "status": rng.choice(_STATUSES),
                "duration_ms": round(rng.expovariate(1 / 40), 3),
            },
        }
        if self._chance(0.1):
            record["seen_by"] = {self._plant("email", "json_key"): rng.randrange(9)}
        if self._chance(0.1):
            record["card"] = int(self._plant("card", "json_number"))
        return json.dumps(record, separators=(",", ":"))

    def _logfmt(self, time_ns: int) -> str:
        rng = self._rng
        return (
            f'ts={_rfc3339(time_ns)} level={rng.choice(_LEVELS)} msg="{self._message()}" '
            f"src={self._address('logfmt_value')} user={self._user('logfmt_value')} method={rng.choice(_METHODS)} "
            f"path={rng.choice(_PATHS)} status={rng.choice(_STATUSES)} duration={rng.expovariate(1 / 40):.3f}ms "
            f"caller=server.go:{rng.randrange(900)} seq={self._count}"
        )

    def _access(self, time_ns: int) -> str:
        """The combined format of nginx."""
        rng = self._rng
        stamp = datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
        query = f"?seq={self._count}"
        if self._chance(0.3):
            query += f"&email={self._plant('email', 'access_log')}"
        return (
            f'{self._address("access_log")} - - [{stamp}] "{rng.choice(_METHODS)} {rng.choice(_PATHS)}{query} HTTP/1.1" '
            f'{rng.choice(_STATUSES)} {rng.randrange(20, 90_000)} "https://shop.example.com/" "{rng.choice(_AGENTS)}"'
        )

    def _text(self, time_ns: int) -> str:
        return f"{_rfc3339(time_ns)} {self._rng.choice(_LEVELS).upper():5} [{self._count}] {self._message()}"

    _WRITERS: dict[str, Callable[[LogGenerator, int], str]] = {  # noqa: RUF012 - a constant table
        "json": _json, "logfmt": _logfmt, "access": _access, "text": _text,
    }  # fmt: skip


def _rfc3339(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 10**9)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest // 1_000_000:03d}Z"


def push_document(entries: Sequence[Generated]) -> dict[str, object]:
    """Return the JSON push request for entries, grouped by stream."""
    streams: dict[tuple[tuple[str, str], ...], dict[str, list[list[object]]]] = {}
    for entry in entries:
        key = tuple(entry.labels.items())
        group = streams.setdefault(key, {"values": []})
        value: list[object] = [str(entry.time_ns), entry.line]
        group["values"].append([*value, entry.metadata] if entry.metadata else value)
    return {"streams": [{"stream": dict(key), **group} for key, group in streams.items()]}
