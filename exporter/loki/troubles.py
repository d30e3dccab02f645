"""The bounded list of windows in trouble that a checkpoint carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from exporter.domain.checkpoints import Trouble
from exporter.domain.windows import Window

#: The checkpoint is written with every commit, so its list stays small; neighbours are merged beyond this.
MAX_TROUBLES = 100


def merged(known: Sequence[Trouble], window: Window, new: Sequence[Trouble]) -> tuple[Trouble, ...]:
    """Return the troubles after ``window`` was read with the troubles ``new``: what a fresh read does not confirm is over, of a
    longer trouble the part that was read (``held`` events are the redaction's affair and stay).
    """
    if not known and not new:
        return ()
    kept = [part for t in known for part in ([t] if t.state == "held" else _outside(t, window))]
    troubles = sorted([*kept, *new], key=lambda t: (t.state, t.start_ns))
    while len(troubles) > MAX_TROUBLES:
        at = min(range(1, len(troubles)), key=lambda i: _gap(troubles[i - 1], troubles[i]))
        troubles[at - 1 : at + 1] = [_joined(troubles[at - 1], troubles[at])]
    return tuple(troubles)


def _outside(trouble: Trouble, window: Window) -> list[Trouble]:
    """Return what of a trouble lies before and after the window."""
    if trouble.end_ns <= window.start_ns or trouble.start_ns >= window.end_ns:
        return [trouble]
    before = replace(trouble, end_ns=window.start_ns)
    after = replace(trouble, start_ns=window.end_ns)
    return [part for part in (before, after) if part.start_ns < part.end_ns]


def _gap(left: Trouble, right: Trouble) -> float:
    return right.start_ns - left.end_ns if left.state == right.state else float("inf")


def _joined(left: Trouble, right: Trouble) -> Trouble:
    reason = left.reason if left.reason == right.reason else f"{left.reason}; and others nearby"
    if left.reason.endswith("; and others nearby"):
        reason = left.reason
    return Trouble(left.state, left.start_ns, max(left.end_ns, right.end_ns), reason, left.count + right.count)
