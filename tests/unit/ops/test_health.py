from __future__ import annotations

import httpx
import pytest

from exporter.errors import ConfigurationError
from exporter.ops.health import HealthServer


def test_probes_answer_with_their_status() -> None:
    server = HealthServer(
        "127.0.0.1:0",
        {"live": lambda: (True, {"n": 1}), "ready": lambda: (False, {})},
        lambda: (b"x 1\n", "text/plain"),
    )
    server.start()
    try:
        base = f"http://127.0.0.1:{server.port}"
        assert httpx.get(f"{base}/healthz/live").json() == {"ok": True, "n": 1}
        assert httpx.get(f"{base}/healthz/ready").status_code == 503
        assert httpx.get(f"{base}/metrics").text == "x 1\n"
        assert httpx.get(f"{base}/healthz/none").status_code == 404
        with pytest.raises(ConfigurationError, match=r"service\.listen"):
            HealthServer(f"127.0.0.1:{server.port}", {}, lambda: (b"", ""))
    finally:
        server.stop()
