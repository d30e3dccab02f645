"""Secrets that cannot be printed.

A secret comes from a file (``*_file`` keys, re-read when the file changes, so rotation needs no restart) or from the
environment (``${env:NAME}``); never from a literal in the configuration.
"""

from __future__ import annotations

import os
from pathlib import Path


class SecretError(ValueError):
    """A secret cannot be read. The message names the file or variable and the cure, never the value."""


class Secret:
    """A secret's place. ``reveal()`` returns its present value; ``repr`` and ``str`` show only the place."""

    __slots__ = ("_cached", "_env", "_path", "_stamp")

    def __init__(self, *, path: Path | None = None, env: str | None = None) -> None:
        if (path is None) == (env is None):
            raise ValueError("a secret has exactly one place: a file or an environment variable")
        self._path, self._env = path, env
        self._stamp: tuple[int, int, int] | None = None
        self._cached = ""

    @property
    def place(self) -> str:
        """Where it comes from, for messages."""
        return f"file {self._path}" if self._path is not None else f"environment variable {self._env}"

    def reveal(self) -> str:
        """Return the value, re-reading the file when it changed. Surrounding white space is cut.

        Raises SecretError when the place is missing, unreadable or empty.
        """
        if self._env is not None:
            value = os.environ.get(self._env, "").strip()
        else:
            assert self._path is not None
            try:
                status = self._path.stat()
                stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
                if stamp != self._stamp:
                    self._cached = self._path.read_text("utf-8").strip()
                    self._stamp = stamp
            except (OSError, UnicodeDecodeError) as error:
                raise SecretError(
                    f"{self.place} cannot be read ({type(error).__name__}); create it or mend its rights"
                ) from None
            value = self._cached
        if not value:
            raise SecretError(f"{self.place} is empty; put the secret there")
        return value

    def __repr__(self) -> str:
        return f"Secret({self.place})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._path, self._env) == (other._path, other._env)

    def __hash__(self) -> int:
        return hash((self._path, self._env))
