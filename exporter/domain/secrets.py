"""Secrets that cannot be printed.

A secret comes from a file (``*_file`` keys, re-read when the file changes, so rotation needs no restart) or from the
environment (``${env:NAME}``); never from a literal in the configuration.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # pydantic is a matter of the settings; the vocabulary itself works without it
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import core_schema

#: The whole value of a secret key that comes from the environment.
ENV_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


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

    @classmethod
    def parse(cls, text: str, base_dir: Path | None = None) -> Secret:
        """Build one from its configuration value: ``${env:NAME}`` or a path, relative ones taken from ``base_dir``.

        Raises ValueError, without the text: whoever wrote the secret itself there must not see it in a report.
        """
        text = text.strip()
        if reference := ENV_REFERENCE.fullmatch(text):
            return cls(env=reference[1])
        if not text or "\0" in text:
            raise ValueError("names no file; write the path of the file that holds the secret, or ${env:NAME}")
        return cls(path=(base_dir or Path()) / os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises for ~nobody

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Let settings models have fields of this type. The validation context may give ``base_dir``."""
        from pydantic_core import core_schema  # noqa: PLC0415 - see the import block

        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(repr)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _: core_schema.CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "type": "string",
            "minLength": 1,
            "description": "Path of a file that holds the secret, or ${env:NAME}.",
        }

    @classmethod
    def _validate(cls, value: object, info: core_schema.ValidationInfo) -> Secret:
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str | Path):
            raise ValueError("names no file; write the path of the file that holds the secret, or ${env:NAME}")  # noqa: TRY004 - pydantic reports ValueError
        return cls.parse(str(value), (info.context or {}).get("base_dir"))

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
            except (OSError, ValueError) as error:  # ValueError: not UTF-8
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
