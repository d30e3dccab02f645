"""The pipeline of one tenant, compiled once: ``process(batch)``.

Order, and why:

1. Redact the raw lines, all of a batch as one block. So keys, values and numbers of any format are covered before
   anything takes a line apart, at memory speed, and nothing unredacted can leak out of a parser.
2. Parse the redacted line. A mask is plain text to every format. Where a mask broke a JSON line (it replaced a bare number,
   or an escape stood before it) the original is parsed instead and each value redacted by itself.
3. Map to canonical names, filter, encode. A stream that is dropped by its labels is left out before the first step.
4. Exit scan: every byte that came from data is scanned once more as it leaves. A hit sends the event through the
   redaction of single values; if something is found still, the event is held back.

Any exception on the way holds back the one event that caused it, never its neighbours, and never lets it pass (fail closed).
"""

from __future__ import annotations

import gc
import json
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from exporter.domain.clock import Clock, SystemClock
from exporter.domain.entries import EntryBatch, StreamEntries
from exporter.domain.events import EncodedBatch, encode_head
from exporter.errors import PseudonymsUnavailable, RedactionFailed
from exporter.ops.metrics import EXIT_SCAN_HITS
from exporter.pipeline.encode import encode_body, members
from exporter.pipeline.filters import Filters
from exporter.pipeline.guard import ExitGuard
from exporter.pipeline.normalise import Mapper, Normaliser
from exporter.pipeline.parse import OverBound
from exporter.pipeline.parse.lines import LineParser, StreamParser
from exporter.pipeline.part import BY_POLICY, Part
from exporter.pipeline.policy import policy_document, policy_id_of
from exporter.pipeline.redact.actions import Tokens
from exporter.pipeline.redact.engine import Redactor
from exporter.pipeline.redact.fields import EventDropped, FieldPolicy
from exporter.pipeline.redact.policy import FieldActions
from exporter.pipeline.redact.values import ValueRedactor
from exporter.pipeline.splitting import halves, until
from exporter.pipeline.streams import NO_METADATA, MetadataParts, StreamCache, StreamParts
from exporter.settings.model import TenantSettings

#: Part of ``policy_id``. Raise it when validators, the engine or the masks change what comes out for the same packs.
REDACTION_VERSION = 3
#: Of a line that is too large to be parsed, this much is the message; the whole line is kept in ``event.original``.
_MESSAGE_CHARS = 4096


class Inside(NamedTuple):
    """The parts of a pipeline that tell why it did something."""

    redactor: Redactor
    values: ValueRedactor
    lines: LineParser
    streams: StreamCache
    fields: FieldPolicy | None
    filters: Filters | None


class Pipeline:
    """See the module. Make it with :func:`compile_pipeline`. Used by one thread at a time."""

    def __init__(
        self,
        tenant: str,
        settings: TenantSettings,
        redactor: Redactor,
        filters: Filters | None,
        digests: tuple[str, ...],
        identity_key: bytes,
        fields: FieldActions | None = None,
        tokens: Tokens | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.tenant = tenant
        self._settings = settings
        self._filters = filters
        self._digests = digests
        self._clock = clock or SystemClock()
        self._redactor = redactor
        self._values = ValueRedactor(redactor)
        self._dropping = redactor.dropping
        # A cancelled task leaves its thread to finish, while the next one begins with the same batch.
        self._lock = threading.Lock()
        #: Makes pseudonyms; None for a policy without any.
        self._tokens = tokens
        self._stamp: object = None
        self._fields = FieldPolicy(fields, tokens.learn if tokens else None) if fields else None
        self._normaliser = Normaliser(settings.fields, settings.tempo_url)
        self._streams = StreamCache(tenant, identity_key, self._values, self._normaliser, self._fields)
        self._lines = LineParser(settings.format)
        self.policy, self.policy_id = self._describe_policy()

    def _describe_policy(self) -> tuple[dict[str, Any], str]:
        digests = self._filters.table_digests if self._filters is not None else {}
        policy = policy_document(self._settings, REDACTION_VERSION, self._digests, digests)
        return policy, policy_id_of(policy)

    @property
    def blocks(self) -> bool:
        """Whether :meth:`process` may wait for a disk or a broker: then call it outside of the event loop."""
        return self._tokens is not None

    def close(self) -> None:
        """Let go of the store of pseudonyms."""
        with self._lock:
            if self._tokens is not None:
                self._tokens.close()

    def process(self, batch: EntryBatch) -> EncodedBatch:
        """Return the events of a batch, in order within a stream. Never raises for bad data: an event that cannot be redacted
        safely is in ``held_ids``.

        Raises PseudonymsUnavailable when the policy makes pseudonyms and their store cannot answer: nothing was done, the
        same batch can be given again.
        """
        collecting = gc.isenabled()
        gc.disable()  # an event's dictionaries live for some microseconds; collecting among them finds nothing
        try:
            with self._lock:
                return self._process_batch(batch)
        finally:
            if collecting:
                gc.enable()

    def _process_batch(self, batch: EntryBatch) -> EncodedBatch:
        if self._filters is not None and self._filters.refresh(self._clock.monotonic()):
            self.policy, self.policy_id = self._describe_policy()
        out = EncodedBatch(self.tenant, self.policy_id)
        common = members(
            {
                "tenant.id": self.tenant,
                "data.class": self._settings.data_class,
                "policy.id": self.policy_id,
                "late": batch.late,
            }
        )
        totals = {"in": batch.count, "out": 0, "held": 0, "filtered": 0, "parse_declined": 0, "redacted": 0}
        for part in self._all_parts([s for s in batch.streams if len(s)], common):
            part.drop_held(out.held_ids)
            out.keys += part.keys
            out.values += [
                encode_head(event_id.hex(), time_ns) + shared + body[1:]
                for event_id, time_ns, shared, body in zip(
                    part.ids, part.times_ns, part.shared, part.bodies, strict=True
                )
            ]
            totals["parse_declined"] += part.declined
            totals["redacted"] += sum(part.hit)
            for total, counts in ((out.redactions, part.redactions), (out.filtered, part.filtered)):
                for name, number in counts.items():
                    total[name] = total.get(name, 0) + number
        totals["out"], totals["held"] = len(out.values), len(out.held_ids)
        totals["filtered"] = sum(out.filtered.values())
        out.counts = totals
        return out

    def redact_lines(self, lines: Sequence[str]) -> list[str]:
        """Redact lines, one out for each in (``policy try``). Raises RedactionFailed."""
        counts: dict[str, int] = {}
        try:
            if self._tokens is not None:
                self._begin(self._tokens, self._clock.now_ns())
            done = self._redactor.settled(lines, counts)
            for row in done.changed:
                if (
                    lines[row][:1] == "{"
                    and self._lines.parse(done.texts[row]) is None
                    and (parsed := self._lines.parse_original(lines[row]))
                ):
                    safe = self._values.redact(dict(zip(*parsed[1:], strict=True)), counts)
                    done.texts[row] = encode_body(safe).decode()
        except Exception as error:  # noqa: BLE001 (whatever it is, its text may hold a line)
            raise RedactionFailed(f"redaction failed ({type(error).__name__})") from None
        return done.texts

    def _all_parts(self, streams: list[StreamEntries], common: bytes) -> Iterator[Part]:
        """Process entries, those of one epoch of pseudonyms together."""
        tokens = self._tokens
        while tokens is not None and streams:
            self._begin(tokens, min(stream.times_ns[0] for stream in streams))
            now, later = until(streams, tokens.end_ns())
            if not now:
                break
            yield from self._parts(now, common)
            streams = later
        yield from self._parts(streams, common)

    def _begin(self, tokens: Tokens, time_ns: int) -> None:
        tokens.begin(time_ns)
        if (stamp := tokens.stamp()) != self._stamp:
            self._streams.clear()  # labels hold tokens, too
            self._stamp = stamp

    def _parts(self, streams: list[StreamEntries], common: bytes) -> list[Part]:
        """Process entries; where that fails, halve them until the one that fails is alone, and hold it."""
        if not streams:
            return []
        try:
            return [self._process(streams, common)]
        except PseudonymsUnavailable:
            raise  # no fault of the data: all of it waits
        except Exception:  # noqa: BLE001 (fail closed, whatever it is; its text may hold a line, so it goes nowhere)
            first, second = halves(streams)
            if not second:
                return [Part([b""], list(first[0].event_ids), [0], [b""], [b""], [False])]
        return self._parts(first, common) + self._parts(second, common)

    def _process(self, streams: list[StreamEntries], common: bytes) -> Part:
        part = Part()
        shares = self._streams.streams([stream.labels for stream in streams], part.redactions)
        if self._filters is not None:
            streams, shares = self._without_dropped(self._filters, streams, shares, part)
        lines = [line for stream in streams for line in stream.lines]
        done = self._redactor.redact(lines, part.redactions)
        part.hit = [False] * len(lines)
        for row in done.changed:
            part.hit[row] = True
        part.dropped.update(dict.fromkeys(done.dropped, BY_POLICY))
        row = 0
        for stream, shared in zip(streams, shares, strict=True):
            self._stream(stream, shared, done.texts[row : row + len(stream)], common, part)
            row += len(stream)
        self._exit_scan(part)
        return part

    def _without_dropped(
        self, filters: Filters, streams: list[StreamEntries], shares: list[StreamParts], part: Part
    ) -> tuple[list[StreamEntries], list[StreamParts]]:
        """Leave out the streams whose labels alone have them dropped: their lines cost nothing."""
        left = []
        for stream, shared in zip(streams, shares, strict=True):
            if (name := filters.for_stream(shared.key, shared.view).dropped_by) is not None:
                part.count_filtered(name, len(stream))
            else:
                left.append((stream, shared))
        return [stream for stream, _ in left], [shared for _, shared in left]

    def _stream(self, stream: StreamEntries, shared: StreamParts, texts: list[str], common: bytes, part: Part) -> None:
        """Add the events of one stream; ``texts`` are its lines after redaction."""
        before = common + shared.encoded
        plain = before + b'"loki.structured_metadata":{},'
        extras = self._streams.metadata(stream.metadata, part.redactions) if stream.metadata else None
        to_event, lines = self._normaliser.mapper(shared.claimed), self._lines.stream(stream.labels)
        parse = lines.parse
        is_kept = self._settings.original == "always"
        base, hit = len(part.ids), part.hit
        members_of = [plain] * len(texts)
        events: list[dict[str, Any]] = []
        # Where nothing else comes to an event it is encoded while the processor's cache still holds it.
        is_whole = extras is None and self._fields is None and self._filters is None
        take: Callable[[Any], None] = part.bodies.append if is_whole else events.append
        for index, text in enumerate(texts):
            try:
                parsed = parse(text)
                if parsed is not None:
                    event = to_event(*parsed)
                else:
                    event = self._unparsed(
                        text, to_event, lines, part, stream.lines[index] if hit[base + index] else None
                    )
            except OverBound:
                event = self._over_bound(text)
            except EventDropped:
                event = {}
                part.dropped[base + index] = BY_POLICY
            if is_kept:
                event["event.original"] = text
            take(encode_body(event) if is_whole else event)
        if extras is not None:
            self._add_metadata(extras, events, members_of, before, shared.claimed, part)
        if self._fields is not None:
            self._apply(self._fields, events, shared, extras, part)
        if self._filters is not None:
            self._filter(self._filters, stream, shared, events, part)
        part.bodies += map(encode_body, events)
        part.ids += stream.event_ids
        part.times_ns += stream.times_ns
        part.shared += members_of
        part.keys += [shared.key] * len(texts)
        if shared.redacted:
            hit[base : base + len(texts)] = [True] * len(texts)

    def _add_metadata(
        self,
        extras: list[MetadataParts],
        events: list[dict[str, Any]],
        members_of: list[bytes],
        before: bytes,
        claimed: frozenset[str],
        part: Part,
    ) -> None:
        """Add structured metadata to the events of one stream, the next ones of the part."""
        base, hit = len(part.ids), part.hit
        for index, extra in enumerate(extras):
            if extra is not NO_METADATA:
                members_of[index] = b'%b"loki.structured_metadata":%b,' % (before, extra.encoded)
                hit[base + index] |= extra.redacted
                if extra.fields:
                    self._normaliser.add_metadata(events[index], extra.fields, claimed)

    def _apply(
        self,
        fields: FieldPolicy,
        events: list[dict[str, Any]],
        shared: StreamParts,
        extras: list[MetadataParts] | None,
        part: Part,
    ) -> None:
        """Apply the field policies to the events of one stream, the next ones of the part."""
        base = len(part.ids)
        for index, (event, plan) in enumerate(zip(events, fields.plans(events), strict=True)):
            removed = shared.removed
            if extras is not None and extras[index].removed:
                removed = {**removed, **extras[index].removed}
            try:
                part.hit[base + index] |= fields.apply(event, plan, removed)
            except EventDropped:
                part.dropped[base + index] = BY_POLICY

    @staticmethod
    def _filter(
        filters: Filters, stream: StreamEntries, shared: StreamParts, events: list[dict[str, Any]], part: Part
    ) -> None:
        """Run the filters over the events of one stream, the next ones of the part."""
        judge, base = filters.for_stream(shared.key, shared.view).judge, len(part.ids)
        if judge is None:
            return
        for row, (event, event_id, time_ns) in enumerate(zip(events, stream.event_ids, stream.times_ns, strict=True)):
            if base + row not in part.dropped and (name := judge(event, event_id, time_ns)) is not None:
                part.dropped[base + row] = name

    def _unparsed(
        self, text: str, to_event: Mapper, lines: StreamParser, part: Part, original: str | None
    ) -> dict[str, Any]:
        """Return the own keys of an event whose redacted line no parser took; ``original``: the line when that is another.
        Raises OverBound, EventDropped.
        """
        if original is not None and original.lstrip()[:1] == "{" and (parsed := lines.parse_original(original)):
            found: dict[str, int] = {}
            safe: dict[str, Any] = self._values.redact(to_event(*parsed), found)
            if not self._dropping.isdisjoint(found):
                raise EventDropped
            return safe
        part.declined += lines.is_declined(text)
        return {"kind": "log", "message": text}

    def _over_bound(self, text: str) -> dict[str, Any]:
        """Return the own keys of an event whose line is too large to be parsed."""
        event: dict[str, Any] = {"kind": "log", "message": text, "metadata.is_truncated": True}
        if self._settings.original != "never":
            event["message"], event["event.original"] = text[:_MESSAGE_CHARS], text
        return event

    def inside(self) -> Inside:
        """Return the parts for an explanation (``exporter.pipeline.explain``)."""
        return Inside(self._redactor, self._values, self._lines, self._streams, self._fields, self._filters)

    def guard(self) -> ExitGuard:
        """Return the exit scan of this tenant's rules, for targets that map events to a schema of their own."""
        return ExitGuard(self._redactor)

    def _exit_scan(self, part: Part) -> None:
        """Scan what leaves; mend the bodies in which anything is found, or empty them. Heads hold only what is ours; labels
        and metadata were scanned when they were encoded.
        """
        bodies = part.bodies
        spans = self._redactor.spans(b"\n".join(bodies), b"\n")
        if not spans:
            return
        ends = list(accumulate(len(body) + 1 for body in bodies))
        for index in dict.fromkeys(bisect_right(ends, first) for first, _, _ in spans):
            if index in part.dropped:
                continue
            found: dict[str, int] = {}
            try:
                mended = self._mended(bodies[index], found)
            except RedactionFailed:
                mended = b""
                EXIT_SCAN_HITS.labels(self.tenant).inc()
            if not self._dropping.isdisjoint(found):
                part.dropped[index] = BY_POLICY
            for name, number in found.items():
                part.redactions[name] = part.redactions.get(name, 0) + number
            part.hit[index] = mended != bodies[index]
            bodies[index] = mended

    def _mended(self, body: bytes, counts: dict[str, int]) -> bytes:
        """Redact an encoded event value by value. Raises RedactionFailed when they do not come clean.

        A hit that is in no key and no value was made by the encoding, such as ``"password:","`` out of the end of one text
        and the beginning of the next; then the event leaves as it is.
        """
        decoded: dict[str, Any] = json.loads(body)  # not orjson: integers of any size stay exact
        safe = self._values.redact(decoded, counts)
        return body if safe == decoded else encode_body(safe)
