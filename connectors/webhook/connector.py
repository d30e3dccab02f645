"""The connector: a batch → requests in order; what a receiver refuses without saying why is halved until the bad event is alone."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from isal import igzip

from connectors.base import (
    Batch,
    Capabilities,
    ConnectorContext,
    DeliveryResult,
    Rejection,
    TargetError,
    TargetMisconfigured,
    TargetUnavailable,
)
from connectors.http import HttpAnswer, HttpSender, OutcomeUnknown
from connectors.unsure import UnsureCopies
from connectors.webhook.answers import Answer, Meaning, Statuses
from connectors.webhook.auth import Login, sign
from connectors.webhook.encode import BODIES, CONTENT_TYPES, fitting, request_id
from connectors.webhook.settings import WebhookSettings
from exporter.domain.clock import Clock, SystemClock

GZIP_LEVEL = 1
#: Events of one batch with one event a request: a lane's position moves on after so many.
SINGLE_BATCH_RECORDS = 100
#: Lone events refused in a row, none stored between them, after which not the events but url or body is wrong.
MAX_REFUSED_IN_A_ROW = 20
#: The same before anything was stored at all.
MAX_REFUSED_AT_FIRST = 3
#: What a gateway answers for a receiver that is away.
_GATEWAY_STATUSES = frozenset({502, 503, 504})


@dataclass(slots=True, repr=False)
class _Progress:
    """A delivery under way; ``pending`` are ranges of the batch that are neither stored nor refused, in order."""

    batch: Batch
    pending: deque[tuple[int, int]]
    rejected: list[Rejection] = field(default_factory=list)
    stored: int = 0
    requests: int = 0
    wire_bytes: int = 0
    duplicates: int = 0
    status: int = 0

    @property
    def lane(self) -> tuple[str, int]:
        return self.batch.tenant, self.batch.partition

    def advance(self, count: int) -> None:
        """Take so many off the head of what is pending."""
        start, end = self.pending.popleft()
        if start + count < end:
            self.pending.appendleft((start + count, end))

    def offsets(self, start: int, end: int) -> list[int]:
        return [record.offset for record in self.batch.records[start:end]]


class WebhookConnector:
    """See ``connectors.base.Connector``. ``clock`` is a seam for tests."""

    def __init__(self, settings: WebhookSettings, context: ConnectorContext, *, clock: Clock | None = None) -> None:
        self._settings, self._user_agent, self._clock = settings, context.user_agent, clock or SystemClock()
        parts = urlsplit(settings.url)
        self._name = f"{parts.scheme}://{parts.netloc}"  # paths and queries of webhooks are often secrets themselves
        self._statuses = Statuses(settings.statuses)
        self._unsure = UnsureCopies()
        self._refused_in_a_row, self._proven = 0, False
        self._http: HttpSender | None = None
        self._login: Login | None = None
        single = settings.body == "single"
        self._most = 1 if single else settings.max_request_events
        self.capabilities = Capabilities(
            max_batch_bytes=settings.max_request_bytes,
            max_batch_records=SINGLE_BATCH_RECORDS if single else settings.max_request_events,
        )

    async def open(self) -> None:
        """Prove the address, its certificate and, where a token endpoint gives one, the login, without sending an event."""
        await self.close()
        settings = self._settings
        self._http = HttpSender(
            timeout_seconds=settings.timeout_seconds,
            url_setting="url",
            headers={"User-Agent": self._user_agent, **settings.headers},
            ca_file=settings.ca_file,
            cert_file=settings.cert_file,
            key_file=settings.key_file,
        )
        self._login = Login(settings.auth, self._http, self._clock)
        headers = await self._login.headers()
        if settings.signature is not None:
            sign(settings.signature, b"", 0)
        if settings.probe == "head":
            got = await self._http.request("HEAD", settings.url, headers, name=self._name)
            # Many receivers answer a HEAD with 403, 404 or 405 and take events all the same.
            answer = self._statuses.read(got)
            if got.status == 401:
                raise answer.error()
            if got.status in _GATEWAY_STATUSES:
                raise TargetUnavailable(answer.text, hint="the receiver is away behind its gateway", code=answer.name)

    async def close(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def deliver(self, batch: Batch) -> DeliveryResult:
        """Store the batch, or its head; see the contract."""
        progress = _Progress(batch, deque([(0, len(batch.records))]))
        try:
            while progress.pending:
                await self._send(progress)
        except TargetError:
            if not (progress.stored or progress.rejected):
                raise
            # The head is settled; the engine hands the rest in again and meets the error then.
        left = [index for start, end in progress.pending for index in range(start, end)]
        return DeliveryResult(
            rejected=tuple(progress.rejected),
            retry=tuple(left),
            receipt={
                "endpoint": self._name,
                "status": progress.status,
                "requests": progress.requests,
                "wire_bytes": progress.wire_bytes,
            },
            possible_duplicates=progress.duplicates,
        )

    # --- one request --------------------------------------------------------------------------------------------------

    async def _send(self, progress: _Progress) -> None:
        """Send the head of what is pending."""
        start, end = progress.pending[0]
        values = [record.value for record in progress.batch.records[start:end]]
        count = fitting(values, self._settings.max_request_bytes, self._most)
        if not count:
            progress.advance(1)
            reason = f"above max_request_bytes: {len(values[0])} bytes"
            progress.rejected.append(Rejection(start, "too_large", reason))
            return
        answer = await self._request(progress, start, start + count, BODIES[self._settings.body](values[:count]))
        progress.advance(count)
        self._judge(progress, answer, start, start + count)

    async def _request(self, progress: _Progress, start: int, end: int, body: bytes) -> Answer:
        """Send one request. Raises TargetError when it was not answered, or the answer is about more than its events."""
        offsets = progress.offsets(start, end)
        key = request_id(progress.batch, offsets[0], offsets[-1], body)
        progress.requests += 1
        try:
            answer = self._statuses.read(await self._exchange(body, key, progress))
        except OutcomeUnknown:
            self._unsure.note(progress.lane, offsets)
            raise
        except TargetError:
            raise
        except BaseException:  # cancelled in the middle
            self._unsure.note(progress.lane, offsets)
            raise
        progress.status = answer.status
        if answer.meaning not in {Meaning.STORED, Meaning.BAD_EVENT, Meaning.TOO_LARGE}:
            if answer.may_be_stored:
                self._unsure.note(progress.lane, offsets)
            raise answer.error()
        return answer

    async def _exchange(self, body: bytes, key: str, progress: _Progress) -> HttpAnswer:
        """Send a body; after a refused login once more with a fresh one."""
        http, login, settings = self._http, self._login, self._settings
        if http is None or login is None:
            raise TargetUnavailable("the connector is not open")
        headers = {"Content-Type": CONTENT_TYPES[settings.body], "Idempotency-Key": key}
        if settings.gzip:
            body = igzip.compress(body, compresslevel=GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        progress.wire_bytes += len(body)
        used: dict[str, str] = {}
        while True:
            fresh = await login.headers()
            signed = {} if settings.signature is None else sign(settings.signature, body, self._clock.now_ns())
            got = await http.request(
                settings.method, settings.url, {**headers, **fresh, **signed}, body=body, name=self._name
            )
            if self._statuses.read(got).meaning is not Meaning.UNAUTHORIZED:
                return got
            login.refused()
            if used or await login.headers() == fresh:
                return got
            used = fresh

    # --- settling -----------------------------------------------------------------------------------------------------

    def _judge(self, progress: _Progress, answer: Answer, start: int, end: int) -> None:
        if answer.meaning is Meaning.STORED:
            progress.stored += end - start
            progress.duplicates += self._unsure.settled(progress.lane, progress.offsets(start, end))
            self._refused_in_a_row, self._proven = 0, True
        elif end - start > 1:
            if answer.meaning is Meaning.BAD_EVENT:
                # Refused as a whole or in part: nobody can tell, so what the halves may store again is counted.
                self._unsure.note(progress.lane, progress.offsets(start, end))
            middle = (start + end) // 2
            progress.pending.extendleft([(middle, end), (start, middle)])
        else:
            self._refuse(progress, answer, start)

    def _refuse(self, progress: _Progress, answer: Answer, index: int) -> None:
        limit = MAX_REFUSED_IN_A_ROW if self._proven else MAX_REFUSED_AT_FIRST
        if self._refused_in_a_row >= limit:
            if not (progress.stored or progress.rejected):
                self._refused_in_a_row = (
                    limit - 1
                )  # this pauses; afterwards one more, so that a long run of bad events ends
            progress.pending.appendleft((index, index + 1))
            raise TargetMisconfigured(
                f"{answer.text} for {limit} events in a row",
                hint="the receiver does not take this form: check url, method, body and schema",
                code="all_refused",
            )
        self._refused_in_a_row += 1
        size = len(progress.batch.records[index].value)
        too_large = answer.meaning is Meaning.TOO_LARGE
        reason = f"larger than the target takes: {size} bytes" if too_large else f"{answer.text}, alone in its request"
        progress.rejected.append(Rejection(index, answer.name, reason))
