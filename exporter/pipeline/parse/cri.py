"""Envelopes of container runtimes: CRI's text form, and what makes a JSON object Docker's json-file form.

Sources: Kubernetes CRI logging format (``time stream tags content``; tag ``P``: a part, the rest follows in further
lines); Docker ``json-file`` driver (members ``log``, ``stream``, ``time``).
"""

from __future__ import annotations

import re

from exporter.pipeline.parse import Parsed
from exporter.pipeline.parse.fields import bound

_LINE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2}))"
    r" (stdout|stderr) ([FP](?::[^\s]{1,64}+)?) (.*+)",
    re.DOTALL,
)
DOCKER_KEYS = frozenset(("log", "stream", "time"))


def parse_cri(line: str) -> Parsed | None:
    """Return time, stream and message; a part is flagged ``log.is_partial``. Raises OverBound."""
    match = _LINE.match(line)
    if match is None:
        return None
    bound(line)
    time, stream, tags, message = match.groups()
    if tags.startswith("P"):
        return ("timestamp", "log.iostream", "log.is_partial", "message"), (time, stream, True, message)
    return ("timestamp", "log.iostream", "message"), (time, stream, message)
