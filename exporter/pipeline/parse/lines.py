"""Which parser takes a line, and what stands inside it.

The choice depends on the line and its stream's labels alone (docs/adr/0007): by the tenant's format, by its rules, or by the
first characters. The three commonest formats are told before any other is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from exporter.pipeline.parse import Keys, OverBound, Parsed, Sourced
from exporter.pipeline.parse.access import parse_access
from exporter.pipeline.parse.auditd import parse_auditd
from exporter.pipeline.parse.cef import parse_cef
from exporter.pipeline.parse.cisco import parse_cisco_message
from exporter.pipeline.parse.cri import DOCKER_KEYS, parse_cri
from exporter.pipeline.parse.json import parse_json
from exporter.pipeline.parse.keyvalue import parse_netfilter, parse_separated
from exporter.pipeline.parse.klog import parse_klog
from exporter.pipeline.parse.leef import parse_leef
from exporter.pipeline.parse.logfmt import LogfmtParser, looks_like_logfmt
from exporter.pipeline.parse.nesting import merge
from exporter.pipeline.parse.prefixed import parse_prefixed
from exporter.pipeline.parse.programs import canonical_program, parse_program, program_of
from exporter.pipeline.parse.syslog import parse_cisco, parse_syslog
from exporter.pipeline.parse.winxml import parse_winxml
from exporter.settings.model import FormatRule, LineFormat

#: Envelopes that are opened one in another; what stands deeper stays text.
MAX_ENVELOPES = 2
#: Streams whose choice is remembered.
_MAX_STREAMS = 8192
_holds_equals = re.compile(r'[^=\s]++=[^=\s,;|"]++=[^=\s,;|]').match
#: How a line begins that should be a record of one of these formats.
_RECORD_STARTS = ("CEF:", "LEEF:", "<Event>", "<Event ", "<?xml ")
_AUDIT_STARTS = frozenset(("type=", "node="))
_SEPARATORS = frozenset(",;|")
#: Members of a JSON object that may hold a record of another format, in this order.
_MESSAGE_KEYS = ("log", "message", "msg")

Parse = Callable[[str], Sourced | None]


class StreamParser:
    """Parses the lines of one stream. ``parse`` returns the source and the fields of a line, or None: it is text. It raises
    OverBound.
    """

    __slots__ = ("is_declined", "parse", "parse_original")

    def __init__(self, parse: Parse, parse_original: Parse, is_declined: Callable[[str], bool]) -> None:
        self.parse = parse
        #: For a JSON line that is not redacted yet, because a mask broke it. Nothing in it is opened: its values are redacted
        #: one by one, and a message keeps the context that a detector may need only while it is whole.
        self.parse_original = parse_original
        #: Tells whether a line that no parser took should have been taken by one.
        self.is_declined = is_declined


class LineParser:
    """Parses the lines of one tenant: in a format, by rules (the first whose labels fit), or as each line shows (``auto``).

    Not thread-safe.
    """

    def __init__(self, wanted: LineFormat | Sequence[FormatRule]) -> None:
        self._rules = () if isinstance(wanted, str) else tuple(wanted)
        self._default: LineFormat = wanted if isinstance(wanted, str) else "auto"
        self._logfmt = LogfmtParser()
        self._message_at = _MessageAt()
        self._forced: dict[str, Parse] = {
            "json": self._json,
            "logfmt": lambda line: _from("logfmt", self._logfmt.parse(line)),
            "access": lambda line: _from("access", parse_access(line)),
            "syslog": lambda line: self._opened("syslog", parse_syslog(line), MAX_ENVELOPES),
            "cef": lambda line: _from("cef", parse_cef(line)),
            "leef": lambda line: _from("leef", parse_leef(line)),
            "cri": lambda line: self._opened("cri", parse_cri(line), MAX_ENVELOPES),
            "klog": lambda line: _from("klog", parse_klog(line, self._logfmt)),
            "auditd": lambda line: _from("auditd", parse_auditd(line)),
            "winxml": lambda line: _from("winxml", parse_winxml(line)),
            "kv": self._key_value,
            "prefixed": lambda line: _from("prefixed", parse_prefixed(line)),
            "text": _nothing,
        }
        self._streams: dict[tuple[tuple[str, str], ...], StreamParser] = {}
        self._by_program: dict[tuple[str, str | None], StreamParser] = {}
        whole = self._parser(self._default, None)
        #: For lines whose labels are not known.
        self.parse, self.parse_original = whole.parse, whole.parse_original

    def stream(self, labels: Mapping[str, str]) -> StreamParser:
        """Return what parses the lines of a stream; its labels choose a rule, and tell the program of bare messages."""
        key = tuple(labels.items())
        found = self._streams.get(key)
        if found is None:
            if len(self._streams) >= _MAX_STREAMS:
                self._streams.clear()
            wanted = next((rule.format for rule in self._rules if _fits(rule, labels)), self._default)
            found = self._streams[key] = self._parser(wanted, program_of(labels) if wanted == "auto" else None)
        return found

    def _parser(self, wanted: LineFormat, program: str | None) -> StreamParser:
        known = self._by_program.get((wanted, program))
        if known is None:
            if wanted != "auto":
                original = self._plain_json if wanted == "json" else _nothing
                known = StreamParser(self._forced[wanted], original, lambda _: wanted != "text")
            elif program is None:
                known = StreamParser(self._auto, self._plain_json, _shows_format)
            else:
                known = StreamParser(lambda line: self._of_program(program, line), self._plain_json, _shows_format)
            self._by_program[wanted, program] = known
        return known

    def _auto(self, line: str) -> Sourced | None:
        first = line[:1]
        if first == "{" or (first.isspace() and line.lstrip()[:1] == "{"):
            return self._json(line)
        if looks_like_logfmt(line):
            return self._pairs(line)
        parsed = parse_access(line)
        return self._other(line, MAX_ENVELOPES) if parsed is None else ("access", *parsed)

    def _of_program(self, program: str, line: str) -> Sourced | None:
        found = parse_program(program, line)
        return self._auto(line) if found is None else _from(*found)

    def _json(self, line: str, depth: int = MAX_ENVELOPES) -> Sourced | None:
        parsed = parse_json(line)
        if parsed is None:
            return None
        keys, values = parsed
        at = self._message_at[keys]
        if (
            at >= 0
            and type(text := values[at]) is str
            and depth
            and (text[:1] == "{" or "=" in text or keys[at] == "log")
        ):
            source = "docker" if DOCKER_KEYS.issuperset(keys) else "json"
            inner = self._inner(text.rstrip(), depth, only_records=source == "json")
            if source == "docker":
                keys = tuple("log.iostream" if key == "stream" else key for key in keys)
            if inner is not None:
                return merge((source, keys, values), keys[at], inner)
        return "json", keys, values

    def _plain_json(self, line: str) -> Sourced | None:
        return self._json(line, 0)

    def _pairs(self, line: str) -> Sourced | None:
        """Parse a line that begins with a pair."""
        if line[:5] in _AUDIT_STARTS and (parsed := parse_auditd(line)):
            return "auditd", *parsed
        blank = line.find(" ")
        # `url=/x?a=1,b=2` is one value: the first one holds an equals sign itself.
        if (
            (blank < 0 or line[blank - 1] in _SEPARATORS)
            and _holds_equals(line) is None
            and (parsed := parse_separated(line))
        ):
            return "kv", *parsed
        return _from("logfmt", self._logfmt.parse(line))

    def _key_value(self, line: str) -> Sourced | None:
        parsed = parse_netfilter(line)
        if parsed is not None:
            return "netfilter", *parsed
        return _from("kv", parse_separated(line) or self._logfmt.parse(line))

    def _record(self, line: str) -> Sourced | None:
        """Parse a line of a format that is told by its first characters."""
        if line.startswith("CEF:"):
            return _from("cef", parse_cef(line))
        if line.startswith("LEEF:"):
            return _from("leef", parse_leef(line))
        if line.startswith(_RECORD_STARTS):
            return _from("winxml", parse_winxml(line))
        if line.startswith("audit("):
            return _from("auditd", parse_auditd(line))
        if line.startswith("%") and (parsed := parse_cisco(line)):
            return _with_cisco_message(("syslog", *parsed))
        return None

    def _other(self, line: str, depth: int) -> Sourced | None:
        """Parse a line that is neither JSON nor logfmt nor of an access log. The order: a form that says more of itself
        comes before one that would take it too.
        """
        found = self._record(line)
        if found is None and line[:1] != "<":
            found = self._by_front(line, depth)
        if found is None:
            found = self._opened("syslog", parse_syslog(line), depth)
        if found is None and line[:1] != "<":
            found = self._loose(line)
        return found

    def _by_front(self, line: str, depth: int) -> Sourced | None:
        if parsed := parse_cri(line):
            return self._opened("cri", parsed, depth)
        if parsed := parse_klog(line, self._logfmt):
            return "klog", *parsed
        return _from("prefixed", parse_prefixed(line))

    def _loose(self, line: str) -> Sourced | None:
        if parsed := parse_netfilter(line):
            return "netfilter", *parsed
        return _from("kv", parse_separated(line))

    def _opened(self, source: str, parsed: Parsed | None, depth: int) -> Sourced | None:
        """Return an envelope with what its message holds."""
        if parsed is None:
            return None
        keys, values = parsed
        envelope = (source, keys, values)
        if "message" not in keys:
            return envelope
        text = values[keys.index("message")]
        program = canonical_program(str(values[keys.index("process.name")])) if "process.name" in keys else None
        found = parse_program(program, text) if program is not None else None
        if program is None and "cisco.facility" in keys:
            found = parse_cisco_message(str(values[keys.index("event.code")]), text)
        inner = self._inner(text, depth) if found is None else _from(*found)
        return envelope if inner is None else merge(envelope, "message", inner)

    def _inner(self, text: str, depth: int, *, only_records: bool = False) -> Sourced | None:
        """Parse the message of an envelope. One that is too large for that stays text: the envelope was read."""
        try:
            return self._read_inner(text, depth, only_records=only_records)
        except OverBound:
            return None

    def _read_inner(self, text: str, depth: int, *, only_records: bool) -> Sourced | None:
        if text.startswith("@cee:"):  # CEE's mark of JSON behind a syslog header (rsyslog mmjsonparse)
            text = text[5:].lstrip()
        if text[:1] == "{":
            return self._json(text, max(depth - 1, 0))
        if (
            text[:1] == "[" and text[-1:] == "]" and (parsed := parse_separated(text[1:-1]))
        ):  # Check Point's Log Exporter
            return "kv", *parsed
        if looks_like_logfmt(text):
            return self._pairs(text)
        if only_records:
            return self._record(text)
        parsed = parse_access(text)
        if parsed is not None:
            return "access", *parsed
        return self._other(text, depth - 1) if depth > 1 else self._record(text)


class _MessageAt(dict[Keys, int]):
    """Where the member that may hold another record stands among the keys of an object, -1: nowhere. Bounded."""

    def __missing__(self, keys: Keys) -> int:
        if len(self) >= 2048:  # as many shapes as the normaliser keeps
            self.clear()
        at = self[keys] = next((keys.index(name) for name in _MESSAGE_KEYS if name in keys), -1)
        return at


def _nothing(_: str) -> Sourced | None:
    return None


def _shows_format(line: str) -> bool:
    text = line.lstrip()
    return text[:1] == "{" or text.startswith(_RECORD_STARTS)


def _fits(rule: FormatRule, labels: Mapping[str, str]) -> bool:
    return all(fnmatchcase(labels.get(name, ""), pattern) for name, pattern in rule.labels.items())


def _with_cisco_message(mark: Sourced) -> Sourced:
    """Return a line that begins with Cisco's mark, with what its message holds."""
    fields = dict(zip(mark[1], mark[2], strict=True))
    found = parse_cisco_message(str(fields["event.code"]), str(fields.get("message", "")))
    return mark if found is None else merge(mark, "message", ("packets", *found[1]))


def _from(source: str, parsed: Parsed | None) -> Sourced | None:
    return None if parsed is None else (source, *parsed)
