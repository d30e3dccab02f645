"""What is done with a datum that a rule found or a field policy names. One small class an action.

Whatever stands in a datum's place begins with ``[redacted-`` and ends with ``]``, in between only small letters, digits and
hyphens: every rule of the packs leaves such marks alone, a format's parser takes them for plain text, and the brackets keep
what is beside them from growing together into something a rule would match. Exceptions are a generalised address
(``10.1.2.x``), time or number, and the domain that ``partial: domain`` keeps; a policy whose outcome a rule would match is refused at
load (:mod:`exporter.pipeline.redact.policy`), and the exit scan holds back what comes up later.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

TOKEN_PREFIX = "[redacted-"  # noqa: S105 (not a password: the mark of our own masks)
#: What leaves alone: a mark of ours as the whole value. The text after the name is a token or the last characters.
_MARK = re.compile(rb"\[redacted-([a-z0-9-]{1,120})\]")
#: The at sign in the spellings that the rule for e-mail addresses knows.
AT_SIGN = re.compile(rb"@|%(?:25)*40|\\u0040|&#(?:64|[xX]40);|\xef\xbc\xa0")
#: What generalising left; metadata that tell a field pass its policy twice, and the second time must change nothing.
_NETWORK = re.compile(rb"(?:[0-9]{1,3}\.){1,3}x|(?:[0-9a-f]{1,4}:){1,4}x")
_RANGE = re.compile(rb"([0-9]{1,18})-([0-9]{1,18})")
#: An address as text never has more bytes (RFC 4291 with embedded IPv4, and a zone).
_MAX_ADDRESS_BYTES = 64


class Action(Protocol):
    """What a rule does with the text it found, or a field policy with a value."""

    @property
    def fixed(self) -> bytes | None:
        """What stands in the place of every text; None when that depends on the text."""
        ...

    @property
    def kind(self) -> str | None:
        """The kind of pseudonym that :meth:`Tokens.learn` must have seen the text under before; None: nothing is asked."""
        ...

    def replace(self, text: bytes) -> bytes:
        """Return what stands in its place. Must contain no line break, quote, backslash, blank or ``=``, so that what
        is around it still parses.
        """
        ...


class Tokens(Protocol):
    """Where pseudonyms come from (``exporter.pseudonyms``). Used by one thread at a time."""

    def begin(self, time_ns: int) -> None:
        """Take the epoch that this time lies in for all that follows. Raises PseudonymsUnavailable."""
        ...

    def end_ns(self) -> int:
        """Return where the epoch ends (exclusive)."""
        ...

    def stamp(self) -> object:
        """Return what changes whenever a token already given out may not be used any more."""
        ...

    def learn(self, values: Iterable[tuple[str, bytes]]) -> None:
        """Find or make the tokens of (kind, value), all in one round trip. Raises PseudonymsUnavailable."""
        ...

    def letters(self, kind: str, value: bytes) -> str:
        """Return the token of a value that was learnt, small letters only."""
        ...

    def address_letters(self, packed: bytes, *, keep_prefix: bool) -> str:
        """Return the token of an IP address in 4 or 16 bytes, two letters a byte (see ``exporter.pseudonyms.ipcrypt``)."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


def mark(kind: str, detail: str = "") -> bytes:
    """Return a mark of ours."""
    return f"{TOKEN_PREFIX}{kind}-{detail}]".encode() if detail else f"{TOKEN_PREFIX}{kind}]".encode()


def is_mark(text: bytes) -> bool:
    """Tell whether a text is one of our marks and nothing else."""
    return _MARK.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Mask:
    """The rule's name in the place of what it found: ``[redacted-email]``. The brackets end any run of letters or digits
    beside it, so no rule can match across a mask; bare in JSON it is no value, so a masked number cannot pass unnoticed.
    """

    token: bytes
    kind: None = None

    @property
    def fixed(self) -> bytes:
        return self.token

    def replace(self, text: bytes) -> bytes:  # noqa: ARG002 (a mask tells nothing of the text)
        return self.token


class Keep:
    """Leave it as it is. A rule with this action finds nothing."""

    fixed = None
    kind = None

    def replace(self, text: bytes) -> bytes:
        return text


@dataclass(frozen=True, slots=True)
class DropEvent(Mask):
    """The whole event does not leave. The mask is for places that belong to many events (labels)."""


@dataclass(frozen=True, slots=True)
class DropField(Mask):
    """The field does not leave (field policies only). The mask is for other places that hold the same text."""


@dataclass(frozen=True, slots=True)
class Partial:
    """The last characters of a number (``[redacted-card-1111]``). A text of less than four times as many is masked whole."""

    name: str
    keep: int
    fixed: None = None
    kind: None = None

    def replace(self, text: bytes) -> bytes:
        plain = "".join(c for c in text.decode("utf-8", "replace") if c.isascii() and c.isalnum()).lower()
        return mark(self.name, plain[-self.keep :] if len(plain) >= 4 * self.keep else "")


@dataclass(frozen=True, slots=True)
class PartialDomain:
    """The domain of an e-mail address: ``[redacted-email]@example.com``. The domain may tell of a person, too."""

    name: str
    fixed: None = None
    kind: None = None

    def replace(self, text: bytes) -> bytes:
        at = AT_SIGN.search(text)
        return mark(self.name) + (text[at.start() :] if at else b"")


@dataclass(frozen=True, slots=True)
class Truncate:
    """The first characters of a value; a shorter one stays as it is."""

    length: int
    fixed: None = None
    kind: None = None

    def replace(self, text: bytes) -> bytes:
        return text.decode("utf-8", "replace")[: self.length].encode()


def address_of(text: bytes) -> bytes | None:
    """Return an IP address in 4 or 16 bytes; IPv4 in IPv6 (``::ffff:10.0.0.1``) is the IPv4 address, a zone falls away."""
    if len(text) > _MAX_ADDRESS_BYTES:
        return None
    try:
        address = ipaddress.ip_address(text.decode("ascii").strip("[] ").partition("%")[0])
    except ValueError:  # UnicodeDecodeError is one
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).packed


@dataclass(frozen=True, slots=True)
class GeneraliseAddress:
    """The network of an address: ``10.1.2.x`` for /24, ``2001:db8:85a3:x`` for /48. Bits in whole groups."""

    name: str
    ipv4_bits: int = 24
    ipv6_bits: int = 48
    fixed: None = None
    kind: None = None

    def replace(self, text: bytes) -> bytes:
        packed = address_of(text)
        if packed is None:
            return text if _NETWORK.fullmatch(text) else mark(self.name)
        if len(packed) == 4:
            return ".".join([*map(str, packed[: self.ipv4_bits // 8]), "x"]).encode()
        groups = [packed[i : i + 2].hex().lstrip("0") or "0" for i in range(0, self.ipv6_bits // 8, 2)]
        return ":".join([*groups, "x"]).encode()


@dataclass(frozen=True, slots=True)
class GeneraliseTime:
    """A time cut to the hour or day, UTC. Understands RFC 3339 and epoch seconds, milli-, micro- and nanoseconds."""

    name: str
    unit: str
    fixed: None = None
    kind: None = None

    def replace(self, text: bytes) -> bytes:
        time = _time_of(text)
        if time is None:
            return mark(self.name)
        text_form = time.isoformat()  # strftime does not pad the year
        return f"{text_form[:13]}Z".encode() if self.unit == "hour" else text_form[:10].encode()


def _time_of(text: bytes) -> datetime | None:
    try:
        plain = text.decode("ascii")
        if plain.isdigit():
            # Today's epoch time has 10, 13, 16 or 19 digits by its unit.
            digits = len(plain)
            if digits not in {10, 13, 16, 19}:
                return None
            return datetime.fromtimestamp(0, UTC) + timedelta(seconds=int(plain[:10]))
        time = datetime.fromisoformat(plain)
        return time.astimezone(UTC) if time.tzinfo else time
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Range:
    """A number as the range it lies in: ``30-39`` for 34 and a width of 10."""

    name: str
    width: int
    fixed: None = None
    kind: None = None

    def replace(self, text: bytes) -> bytes:
        done = _RANGE.fullmatch(text)
        if done and int(done[1]) % self.width == 0 and int(done[2]) == int(done[1]) + self.width - 1:
            return text
        number = text.partition(b".")[0]
        if not number.isdigit() or len(number) > 18:
            return mark(self.name)
        low = int(number) // self.width * self.width
        return b"%d-%d" % (low, low + self.width - 1)


@dataclass(frozen=True, slots=True)
class Pseudonym:
    """A keyed token that is the same for the same value within an epoch: ``[redacted-email-bcdfghjklmnpqrst]``."""

    kind: str
    tokens: Tokens
    fixed: None = None

    def replace(self, text: bytes) -> bytes:
        return mark(self.kind, self.tokens.letters(self.kind, text))


@dataclass(frozen=True, slots=True)
class AddressToken:
    """An encrypted address, two letters a byte. ``keep_prefix``: addresses of one network begin alike, so that a search for
    the first letters finds a subnet: ``[redacted-ip-bcdfgh*``.
    """

    name: str
    tokens: Tokens
    keep_prefix: bool
    fixed: None = None
    kind: None = None

    def replace(self, text: bytes) -> bytes:
        packed = address_of(text)
        if packed is None:
            return mark(self.name)
        return mark("ip", self.tokens.address_letters(packed, keep_prefix=self.keep_prefix))
