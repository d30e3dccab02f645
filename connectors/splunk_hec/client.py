"""HTTP towards one or several HEC endpoints: which one is asked, with which token, and what its answer means."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import orjson
import structlog
from isal import igzip

from connectors.base import TargetError, TargetMisconfigured, TargetThrottled, TargetUnauthorized, TargetUnavailable
from connectors.http import REFUSED, HttpAnswer, HttpSender, OutcomeUnknown
from connectors.splunk_hec.answers import HINTS, Answer, Meaning, read_acks, read_answer
from connectors.splunk_hec.channels import FIRST_POLL_SECONDS, Ack, Channel, Channels, Polled
from connectors.splunk_hec.endpoints import Endpoint, EndpointPool
from connectors.splunk_hec.settings import SplunkHecSettings
from exporter.domain.secrets import SecretError

log = structlog.get_logger()

EVENT_PATH, RAW_PATH = "/services/collector/event", "/services/collector/raw"
ACK_PATH, HEALTH_PATH = "/services/collector/ack", "/services/collector/health"
#: isal level 1 compresses log events as well as zlib's level 1 and three times as fast; higher levels cost more than they save.
GZIP_LEVEL = 1
#: Sessions lost one after the other: that is no restart, but a balancer without memory.
MAX_LOSSES = 5


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whose it was, and what the request weighed on the wire. ``ack``: taken, and still to be acknowledged;
    ``acked``: whether this endpoint acknowledges at all.
    """

    answer: Answer
    endpoint: str
    wire_bytes: int
    acked: bool = False
    ack: Ack | None = None


class HecClient:
    """Sends bodies; used by one connector in one event loop."""

    def __init__(
        self,
        settings: SplunkHecSettings,
        user_agent: str,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        first_poll_seconds: float = FIRST_POLL_SECONDS,
    ) -> None:
        self._settings, self._user_agent = settings, user_agent
        self._pool = EndpointPool(settings.endpoints, self._is_healthy, sleep=sleep)
        self._channels = {
            endpoint.url: Channels(
                partial(self._poll, endpoint),
                settings.ack_timeout_seconds,
                first_poll_seconds=first_poll_seconds,
            )
            for endpoint in self._pool.endpoints
        }
        self._path = RAW_PATH if settings.endpoint == "raw" else EVENT_PATH
        self._http: HttpSender | None = None

    async def open(self) -> None:
        """Build the connection pool and prove address, token and mode at every endpoint, writing nothing. Raises TargetError:
        when no endpoint can be used, or when one of them refuses the token or is set up otherwise than configured.
        """
        await self.close()
        settings = self._settings
        self._http = HttpSender(
            timeout_seconds=settings.timeout_seconds,
            url_setting="url",
            headers={"User-Agent": self._user_agent},
            ca_file=settings.ca_file,
            cert_file=settings.cert_file,
            key_file=settings.key_file,
        )
        failures: list[TargetError] = []
        for endpoint in self._pool.endpoints:
            try:
                await self._prove(endpoint)
            except TargetError as error:
                self._pool.failed(endpoint)
                failures.append(error)
        # One endpoint that is away is no reason to wait; a token or an address that is wrong is, wherever.
        for failure in failures:
            if isinstance(failure, TargetUnauthorized | TargetMisconfigured) or len(failures) == len(self._pool):
                raise failure

    async def close(self) -> None:
        """Close all connections; what was not acknowledged is lost."""
        await self._pool.close()
        for channels in self._channels.values():
            await channels.close()
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    # --- events -------------------------------------------------------------------------------------------------------

    async def send(self, body: bytes, query: str = "") -> Reply:
        """POST events; try another endpoint when one surely stored nothing. Raises TargetError when there is no answer,
        TargetUnauthorized, and OutcomeUnknown when the events may be stored.
        """
        headers = {"Content-Type": "application/json"}
        if self._settings.gzip:
            # 0.5 ms per 250 kB: not worth a thread.
            body = igzip.compress(body, compresslevel=GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        tried: list[Endpoint] = []
        while True:
            endpoint = self._pool.pick(tried)
            tried.append(endpoint)
            more = len(tried) < len(self._pool)
            try:
                reply = await self._send_to(endpoint, body, headers, query)
            except OutcomeUnknown:
                self._pool.failed(endpoint)
                raise
            except TargetUnavailable:
                self._pool.failed(endpoint)
                if not more:
                    raise
            else:
                if not _elsewhere(reply.answer):
                    self._pool.succeeded(endpoint)
                    return reply
                self._pool.failed(endpoint)
                if not more:
                    return reply

    async def _send_to(self, endpoint: Endpoint, body: bytes, headers: dict[str, str], query: str) -> Reply:
        if endpoint.acks is None:
            await self._prove(endpoint)
        reply = await self._send_as(endpoint, bool(endpoint.acks), body, headers, query)
        if reply.answer.code == 10 and not reply.acked and self._settings.ack != "never":
            await self._prove(endpoint)  # nothing is stored; was acknowledgement switched on for the token meanwhile?
            if endpoint.acks:
                reply = await self._send_as(endpoint, True, body, headers, query)
        if reply.answer.meaning is Meaning.UNAUTHORIZED:
            raise error_of(reply.answer)
        return reply

    async def _send_as(
        self, endpoint: Endpoint, acked: bool, body: bytes, headers: dict[str, str], query: str
    ) -> Reply:
        if not acked and self._path == EVENT_PATH:
            got = await self._with_token(endpoint, self._path, query, body, headers)
            return Reply(_answer_of(got), endpoint.url, len(body))
        channels = self._channels[endpoint.url]
        self._judge_sessions(endpoint, channels)
        channel = channels.open(self._token())
        channel.users += 1
        try:
            async with channel.busy:
                got = await self._with_token(endpoint, self._path, query, body, headers, channel)
                answer = _answer_of(got)
                if answer.code in {25, 27}:
                    channel.hurry.set()  # what is told is forgotten there, and makes room
                if not acked or answer.meaning is not Meaning.STORED:
                    return Reply(answer, endpoint.url, len(body), acked)
                if answer.ack_id is not None:
                    return Reply(answer, endpoint.url, len(body), acked, channels.expect(channel, answer.ack_id))
        finally:
            channel.users -= 1
        endpoint.acks = None
        raise OutcomeUnknown(f"{endpoint.url}: took events without promising acknowledgement", code="ack_missing")

    @staticmethod
    def _judge_sessions(endpoint: Endpoint, channels: Channels) -> None:
        """Raise TargetMisconfigured when acknowledgements get lost without end: everything would be sent again and again."""
        if channels.losses >= MAX_LOSSES:
            channels.losses = MAX_LOSSES - 1  # the next request is a trial
            raise TargetMisconfigured(
                f"{endpoint.url}: acknowledgements get lost one after the other",
                hint="a load balancer spreads requests over indexers: make it sticky by cookie, or list the indexers in urls",
                code="ack_sessions",
            )

    # --- asking an endpoint about itself ------------------------------------------------------------------------------

    async def _prove(self, endpoint: Endpoint) -> None:
        """Prove address and token, and learn whether the token wants acknowledgement, without writing: an empty body gets
        code 5 (no data) from a good token, and without a channel code 10 from one with acknowledgement.
        """
        answer = await self._probe(endpoint, EVENT_PATH, None)
        if answer.code not in {0, 5, 10}:
            raise error_of(answer)
        wants = answer.code == 10
        if wants and self._settings.ack == "never":
            raise error_of(answer)
        if not wants and self._settings.ack == "require":
            raise TargetMisconfigured(
                f"{endpoint.url}: the token has no indexer acknowledgement", hint=HINTS[14], code="hec_14"
            )
        if self._path == RAW_PATH or wants:
            answer = await self._probe(endpoint, self._path, Channel(self._token()))
            if answer.code not in {0, 5}:
                raise error_of(answer)
        if wants and (polled := await self._poll(endpoint, Channel(self._token()), [0])).acks is None:
            raise TargetUnavailable(
                f"{endpoint.url}: acknowledgements cannot be asked for; {polled.problem}",
                hint=f"let proxies pass {ACK_PATH}",
                code="ack_poll",
            )
        if endpoint.acks is not wants:
            log.info("hec_endpoint", endpoint=endpoint.url, acknowledgement=wants)
        endpoint.acks = wants

    async def _probe(self, endpoint: Endpoint, path: str, channel: Channel | None) -> Answer:
        return _answer_of(await self._with_token(endpoint, path, "", b"", {}, channel))

    async def _is_healthy(self, endpoint: Endpoint) -> bool:
        try:
            got = await self._open_http().request("GET", endpoint.url + HEALTH_PATH, {}, name=endpoint.url)
        except TargetError:
            return False
        # Where a proxy lets only events through, a request on trial decides.
        return _answer_of(got).code == 17 or got.status in {403, 404, 405}

    async def _poll(self, endpoint: Endpoint, channel: Channel, numbers: list[int]) -> Polled:
        body = orjson.dumps({"acks": numbers})
        try:
            got = await self._with_token(endpoint, ACK_PATH, "", body, {}, channel, own_token=True)
        except TargetError as error:
            return Polled(problem=f"the last poll failed: {error}", refused=error.code == REFUSED)
        acks = read_acks(got.status, got.text)
        if acks is not None:
            return Polled(acks)
        answer = _answer_of(got)
        if answer.code == 14:
            endpoint.acks = None
            return Polled(problem=f"it was answered {answer.text}", off=True)
        return Polled(problem=f"the last poll was answered {answer.text}")

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def _with_token(
        self,
        endpoint: Endpoint,
        path: str,
        query: str,
        body: bytes,
        headers: dict[str, str],
        channel: Channel | None = None,
        *,
        own_token: bool = False,
    ) -> HttpAnswer:
        """POST; on 401 and 403 read the token again, and try once more if it was replaced meanwhile. A poll goes with the
        token that the channel was opened with (``own_token``), as long as that is taken.
        """
        token = channel.token if channel is not None and own_token else self._token()
        got = await self._post(endpoint, path + (f"?{query}" if query else ""), body, headers, token, channel)
        if got.status in {401, 403} and (fresh := self._token()) != token:
            got = await self._post(endpoint, path + (f"?{query}" if query else ""), body, headers, fresh, channel)
        return got

    def _token(self) -> str:
        try:
            token = self._settings.token_file.reveal()
        except SecretError as error:
            raise TargetUnauthorized(str(error), code="token_unreadable") from None
        if not (token.isascii() and token.isprintable()):
            raise TargetUnauthorized(
                f"the token in {self._settings.token_file.place} has characters that no HEC token has",
                code="token_unreadable",
            )
        return token

    def _open_http(self) -> HttpSender:
        if self._http is None:
            raise TargetUnavailable("the connector is not open")
        return self._http

    async def _post(
        self, endpoint: Endpoint, path: str, body: bytes, headers: dict[str, str], token: str, channel: Channel | None
    ) -> HttpAnswer:
        http = self._open_http()
        headers = {**headers, "Authorization": f"Splunk {token}", **(channel.headers() if channel is not None else {})}
        endpoint.under_way += 1
        try:
            got = await http.post(endpoint.url + path, body, headers, name=endpoint.url)
        finally:
            endpoint.under_way -= 1
        if channel is not None:
            channel.keep_session(got.headers.get_list("set-cookie"))
        return got


def _answer_of(got: HttpAnswer) -> Answer:
    return read_answer(got.status, got.text, got.headers.get("retry-after"))


def _elsewhere(answer: Answer) -> bool:
    """Tell whether another endpoint may take the request: this one is busy or going down and named no event, so by its
    own word it stored nothing.
    """
    busy = answer.meaning is Meaning.BUSY and answer.code is not None
    return (busy and not answer.event) or answer.code == 23


def error_of(answer: Answer) -> TargetError:
    """Return the error for an answer that stored nothing, or whose outcome is unknown (OutcomeUnknown)."""
    text, hint, wait = answer.text, answer.hint, answer.retry_after_seconds
    if answer.meaning is Meaning.UNAUTHORIZED:
        return TargetUnauthorized(text, hint=hint, code=answer.name)
    if answer.meaning is Meaning.BUSY:
        return TargetThrottled(text, hint=hint, code=answer.name, retry_after_seconds=wait)
    if answer.meaning is Meaning.UNAVAILABLE:
        return OutcomeUnknown(text, hint=hint, code=answer.name, retry_after_seconds=wait)
    return TargetMisconfigured(text, hint=hint, code=answer.name)


def outcome_unknown(answer: Answer, events: int) -> bool:
    """Tell whether a request of so many events may be stored in spite of the answer: not when Splunk itself says that it is
    busy and where it stopped.
    """
    if answer.meaning is Meaning.STORED:
        return False
    if answer.meaning is Meaning.BUSY:
        foreign = answer.code is None and answer.status != 429
        return foreign or (answer.event is not None and not 0 <= answer.event < events)
    return answer.meaning is Meaning.UNAVAILABLE or answer.status == 200
