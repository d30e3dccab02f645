"""Indexer acknowledgement: channels of one endpoint, and who waits for which request's acknowledgement.

Splunk names each request by an id that counts from zero within its channel, and says *once* that it is indexed. ``false``
means: not yet, lost, never heard of, or told already. So nothing but a ``true`` that we read settles a request; all else
ends in its time-out, and the events are sent again and counted.

An indexer keeps this in memory. That it restarted, or that a balancer moved us to another one, shows in an id that does not
grow, in a cookie that changes, or in a port that nobody listened on meanwhile: then what the channel waits for is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

from connectors.http import OutcomeUnknown

#: Channels of one endpoint. Each is one request at a time and one session of a balancer, which so spreads over indexers.
MAX_CHANNELS = 32
#: Requests asked for in one poll: an answer that is lost takes the acknowledgement of all of them with it.
MAX_POLLED = 50
#: Acknowledgements in one session after which sessions are known to hold.
SETTLED_SESSION = 20
#: An idle indexer acknowledges within a second; a busy one need not be asked that often.
FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.5, 5.0
#: Cookies of AWS's load balancer that are new in every answer for the same session (Application Load Balancer, sticky sessions).
_EVER_NEW = ("AWSALB", "AWSALBCORS", "AWSALBTG", "AWSALBTGCORS", "AWSALBAPP")


class AckLost(OutcomeUnknown):
    """The acknowledgement of a request cannot come any more; its events may be indexed."""


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll brought: the acknowledgements, or why there are none. ``off``: the token wants none any more."""

    acks: Mapping[int, bool] | None = None
    problem: str = ""
    off: bool = False
    refused: bool = False


@dataclass(slots=True, eq=False)
class Channel:
    """One GUID with its session. ``token`` is the one it was opened with."""

    token: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()).upper())
    cookies: dict[str, str] = field(default_factory=dict)
    waiting: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    last_id: int = -1
    #: Sessions lost before it was opened, this one included should it be lost.
    generation: int = 1
    acknowledged: int = 0
    retired: bool = False
    was_refused: bool = False
    problem: str = ""
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def headers(self) -> dict[str, str]:
        """Return what a request on this channel carries."""
        found = {"X-Splunk-Request-Channel": self.id}
        if self.cookies:
            found["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return found

    def lose(self, why: str, code: str = "ack_lost") -> None:
        """Give up what it waits for, and take no more requests."""
        self.retired = True
        waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(AckLost(f"{why}; the events are sent again", code=code))

    def keep_session(self, set_cookies: list[str]) -> None:
        """Take over the cookies of an answer. One that changes is another session: what was waited for there is lost."""
        for line in set_cookies:
            cookie: SimpleCookie = SimpleCookie()
            try:
                cookie.load(line)
            except CookieError:
                continue
            for name, morsel in cookie.items():
                known = self.cookies.get(name)
                if known not in {None, morsel.value} and not name.startswith(_EVER_NEW):
                    self.lose("the balancer moved the session to another indexer")
                self.cookies[name] = morsel.value


@dataclass(frozen=True, slots=True)
class Ack:
    """A request that Splunk took and has not acknowledged yet."""

    channel: Channel
    number: int
    future: asyncio.Future[None]
    deadline: float

    async def wait(self) -> None:
        """Return once it is indexed. Raises OutcomeUnknown when it is lost or late."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.deadline - loop.time()):
                await asyncio.shield(self.future)
        except TimeoutError:
            self.channel.retired = True
            problem = self.channel.problem or "Splunk did not say that the events are indexed"
            raise AckLost(
                f"no acknowledgement in time: {problem}; the events are sent again", code="ack_timeout"
            ) from None
        finally:
            self.give_up()

    def give_up(self) -> None:
        """Wait no longer."""
        if self.channel.waiting.pop(self.number, None) is not None or not self.future.done():
            self.future.cancel()
        elif not self.future.cancelled():
            self.future.exception()  # whoever is cancelled meanwhile does not look at it


class Channels:
    """The channels of one endpoint. ``poll`` asks the endpoint and never raises but for cancellation."""

    def __init__(
        self,
        poll: Callable[[Channel, list[int]], Awaitable[Polled]],
        timeout_seconds: float,
        *,
        first_poll_seconds: float = FIRST_POLL_SECONDS,
    ) -> None:
        self._poll, self._timeout_seconds, self._first_seconds = poll, timeout_seconds, first_poll_seconds
        self._channels: list[Channel] = []
        self._pollers: dict[Channel, asyncio.Task[None]] = {}  # of retired channels as well
        #: Sessions lost in a row, each opened after the one before it was lost: a restart is one, however many it hits.
        self.losses = 0

    def open(self, token: str) -> Channel:
        """Return the channel for a request: an idle one, or a new one, or else the one that fewest wait for."""
        for known in self._channels:
            known.retired |= known.token != token
        self._channels = [c for c in self._channels if not c.retired]
        channel = min(self._channels, key=lambda c: (c.users, len(c.waiting)), default=None)
        if channel is None or (channel.users and len(self._channels) < MAX_CHANNELS):
            channel = Channel(token, generation=self.losses + 1)
            self._channels.append(channel)
        return channel

    def expect(self, channel: Channel, number: int) -> Ack:
        """Note that a request was taken under this number."""
        if number <= channel.last_id and channel.waiting:
            self.losses = max(self.losses, channel.generation)
            channel.lose("the indexer counts from the beginning again, so it was restarted")
        channel.last_id = number
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        channel.waiting[number] = future
        if channel not in self._pollers:
            self._pollers[channel] = loop.create_task(self._ask(channel))
        return Ack(channel, number, future, loop.time() + self._timeout_seconds)

    async def close(self) -> None:
        """Stop asking; what is still waited for is lost."""
        pollers, self._pollers = self._pollers, {}
        self._channels = []
        for channel, poller in pollers.items():
            channel.lose("the connector was closed")
            poller.cancel()
        await asyncio.gather(*pollers.values(), return_exceptions=True)

    async def _ask(self, channel: Channel) -> None:
        pause = self._first_seconds
        while channel.waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await channel.hurry.wait()
            channel.hurry.clear()
            came = await self._ask_once(channel)
            pause = self._first_seconds if came else min(pause * 1.5, max(LONGEST_POLL_SECONDS, self._first_seconds))
        self._pollers.pop(channel, None)

    async def _ask_once(self, channel: Channel) -> bool:
        """Ask for everything that is waited for; return whether anything came."""
        numbers, came = list(channel.waiting), False
        for start in range(0, len(numbers), MAX_POLLED):
            some = numbers[start : start + MAX_POLLED]
            polled = await self._poll(channel, some)
            channel.problem = polled.problem
            if polled.off:
                channel.lose("acknowledgement was switched off for the token", code="hec_14")
            channel.was_refused |= polled.refused
            if polled.acks is None:
                return came
            for number in some:
                future = channel.waiting.get(number)
                if future is not None and polled.acks.get(number):
                    del channel.waiting[number]
                    future.set_result(None)
                    channel.acknowledged += 1
                    came = True
        if channel.acknowledged >= SETTLED_SESSION:
            self.losses = 0
        if channel.was_refused:
            channel.lose("nobody listened on the indexer's port for a while, so it was restarted")
        return came
