"""Running: every metric (``metrics``), structured logs without payload (``log``), health, shutdown."""
