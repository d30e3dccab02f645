"""The polling thread of one target: the only one that touches the :class:`EventReader`.

It reads as much as memory allows, pauses lanes that hold enough while it goes on polling (a member that stops polling loses
its lanes), writes receipts and positions about once a second, and answers revocations.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from exporter.bus.base import Bus, EventReader, Lane, LaneRecords
from exporter.custody.receipts import ReceiptLog
from exporter.delivery.buffer import HeldBytes, held_size
from exporter.delivery.receipts import open_log, write_pending
from exporter.errors import BusUnavailable
from exporter.ops import metrics
from exporter.ops.log import RateLimited, describe

log = structlog.get_logger()

#: One poll brings at most this much: several batches, and small beside the memory bound.
POLL_BYTES = 4 * 1024 * 1024
MIN_POLL_BYTES = 64 * 1024
#: A lane that holds this much is paused: enough for the fastest target during one poll.
LANE_BYTES = 16 * 1024 * 1024
#: How long a poll waits for new records; also the longest delay of a commit or a resume.
POLL_SECONDS = 0.1
#: The same while lanes are paused: a lane that ran empty is resumed quickly.
PAUSED_POLL_SECONDS = 0.02
COMMIT_SECONDS = 1.0
#: The lag costs requests to a broker, so it is asked for less often.
LAG_SECONDS = 5.0
#: Pause after the bus refused a poll or a commit.
BUS_RETRY_SECONDS = 1.0


class PollerSide(Protocol):
    """What the polling thread asks of the engine's run; all but ``hand_over`` are called and answered in this thread."""

    def hand_over(self, batches: list[LaneRecords]) -> None:
        """Give records to the event loop. Returns at once."""
        ...

    def positions(self) -> dict[Lane, int]:
        """Return positions that may be committed now."""
        ...

    def take_receipts(self) -> list[Mapping[str, Any]]:
        """Return the receipts of everything below the positions asked for before, and remove them."""
        ...

    def revoke(self, lanes: frozenset[Lane]) -> dict[Lane, int]:
        """Stop these lanes within the hand-over time and return their positions."""
        ...


class Poller:
    """Owns the reader from :meth:`start` until the thread ends. ``failure`` holds the error that ended it, if any."""

    def __init__(
        self,
        target: str,
        tenants: tuple[str, ...],
        worker: str,
        bus: Bus,
        side: PollerSide,
        held: HeldBytes,
        memory_bytes: int,
    ) -> None:
        self._target, self._tenants, self._worker, self._bus = target, tenants, worker, bus
        self._side, self._held, self._memory_bytes = side, held, memory_bytes
        self._receipts: ReceiptLog | None = None
        self._reader: EventReader | None = None
        self._wake = threading.Event()
        self._stopping = self._quiet = False
        self._paused: frozenset[Lane] = frozenset()
        self._due: dict[str, float] = {}
        self._limited = RateLimited()
        self._committed: dict[Lane, int] = {}
        self._commit_now = False
        self.lag: Mapping[Lane, int] = {}
        #: How often ``lag`` was renewed.
        self.looks = 0
        self.assigned: frozenset[Lane] = frozenset()
        self.failure: BaseException | None = None

    # --- from the event loop ------------------------------------------------------------------------------------------

    def be_quiet(self) -> None:
        """Read nothing more, but keep the lanes."""
        self._quiet = True

    def commit_soon(self) -> None:
        """Write receipts and positions, and look at the lag, in the next turn."""
        self._commit_now = True

    def committed(self) -> Mapping[Lane, int]:
        """Return the positions that are durable."""
        return self._committed.copy()

    def stop(self) -> None:
        """End the thread after a last commit."""
        self._stopping = True
        self._wake.set()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def run(self, monotonic: Callable[[], float]) -> None:
        """Poll until :meth:`stop`. Never raises; see ``failure``."""
        try:
            self._open()
            while not self._stopping:
                self._turn(monotonic)
        except BaseException as error:  # noqa: BLE001 - carried to the event loop, which raises it
            self.failure = error
        finally:
            self._close()

    def _open(self) -> None:
        while not self._stopping and self._reader is None:
            try:
                self._receipts = open_log(self._bus, self._target, self._worker)
                self._reader = self._bus.reader(self._target, self._tenants, self._worker, self._revoked)
            except BusUnavailable as error:
                self._unavailable(error)

    def _turn(self, monotonic: Callable[[], float]) -> None:
        reader = self._reader
        assert reader is not None
        try:
            self._flow(reader)
            room = max(MIN_POLL_BYTES, min(self._poll_bytes(), self._memory_bytes - self._held.total))
            batches = reader.poll(room, PAUSED_POLL_SECONDS if self._paused else POLL_SECONDS)
            for batch in batches:
                self._held.add(batch.lane, held_size(batch.records))
            if batches:
                self._side.hand_over(batches)
            now_too, self._commit_now = self._commit_now, False
            if self._is_due("commit", COMMIT_SECONDS, monotonic()) or now_too:
                self._commit(reader)
            if self._is_due("lag", LAG_SECONDS, monotonic()) or now_too:
                self._look(reader)
        except BusUnavailable as error:
            self._unavailable(error)

    def _is_due(self, what: str, seconds: float, now: float) -> bool:
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + seconds
        return True

    def _lane_bytes(self) -> int:
        # Half of the memory is shared out, so lanes that are stuck cannot take what the others need (G7).
        return min(LANE_BYTES, self._memory_bytes // (2 * max(1, len(self.assigned))))

    def _poll_bytes(self) -> int:
        return min(POLL_BYTES, self._lane_bytes())

    def _flow(self, reader: EventReader) -> None:
        """Pause lanes that hold enough, resume those at half of it."""
        self.assigned = lanes = reader.assigned()
        full, held = self._lane_bytes(), self._held
        held.share_bytes = full
        if self._quiet or held.total + MIN_POLL_BYTES > self._memory_bytes:
            wanted = lanes
        else:
            wanted = frozenset(lane for lane in lanes if held.of(lane) >= (full // 2 if lane in self._paused else full))
        if more := wanted - self._paused:
            reader.pause(more)
        if less := (self._paused - wanted) & lanes:
            reader.resume(less)
        self._paused = wanted

    def _commit(self, reader: EventReader) -> None:
        """Write receipts, then the positions that they cover."""
        positions = {
            lane: position for lane, position in self._side.positions().items() if self._committed.get(lane) != position
        }
        self._write_receipts()
        if positions:
            reader.commit(positions)
            self._committed = self._committed | positions

    def _write_receipts(self) -> None:
        """Make receipts durable."""
        assert self._receipts is not None  # opened before the reader
        self._receipts.seal(self._side.take_receipts())
        write_pending(self._bus, self._receipts)

    def _look(self, reader: EventReader) -> None:
        self.lag = reader.lag()
        self.looks += 1
        metrics.DELIVERY_LAG.labels(self._target).set(sum(self.lag.values()))

    def _revoked(self, lanes: frozenset[Lane]) -> Mapping[Lane, int]:
        """Answer the reader: the positions of lanes that go away. Without their receipts nothing is committed: the next
        owner delivers again what stands above the last commit.
        """
        positions = self._side.revoke(lanes)
        self._paused -= lanes
        self._committed = {lane: position for lane, position in self._committed.items() if lane not in lanes}
        try:
            self._write_receipts()
        except BusUnavailable as error:
            self._say("receipts_not_written", error)
            return {}
        return positions

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is None:
            return
        try:
            if self.failure is None:
                self._commit(reader)
        except Exception as error:  # noqa: BLE001 - not committed means delivered again, never lost
            self._say("last_commit_failed", error)
        try:
            reader.close()
        except Exception as error:  # noqa: BLE001
            self._say("reader_close_failed", error)
        metrics.DELIVERY_LAG.labels(self._target).set(0)

    def _unavailable(self, error: BusUnavailable) -> None:
        self._say("bus_unavailable", error)
        self._wake.wait(error.retry_after_seconds or BUS_RETRY_SECONDS)

    def _say(self, event: str, error: BaseException) -> None:
        if (suppressed := self._limited.ready(event)) is not None:
            log.warning(event, target=self._target, suppressed=suppressed, **describe(error))
