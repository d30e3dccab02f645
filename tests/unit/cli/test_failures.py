"""Errors become messages and exit codes; text that may quote log lines is never shown (G4)."""

from __future__ import annotations

import pytest
import typer

from connectors.base import TargetUnavailable
from connectors.registry import ConnectorError
from exporter.cli.failures import exit_code_of
from exporter.domain.secrets import SecretError
from exporter.errors import BusUnavailable, ConfigurationError, Finding


def caught(error: Exception) -> Exception:
    """Return the error as raised, with a traceback through this function whose local must not be shown."""
    payload = "anna@example.com"
    try:
        raise error
    except Exception as raised:  # noqa: BLE001
        assert payload
        return raised


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (BusUnavailable("bus is away", hint="start it"), 1, "error: bus is away\nhint: start it\n"),
        (SecretError("file x is empty"), 1, "error: file x is empty\n"),
        (TargetUnavailable("no answer", hint="wait"), 1, "error: no answer; wait\n"),
        (
            ConnectorError("odd", "p", "it is broken"),
            2,
            "connector odd\n      package p announces it, but it is broken\n      → Update or remove package p\n",
        ),
        (OSError(28, "No space left on device", "out/a"), 1, "error: out/a: No space left on device\n"),
        (
            ConfigurationError([Finding("a.b", "is odd", "Mend it.", 3)]),
            2,
            "a.b (line 3)\n      is odd\n      → Mend it.\n",
        ),
    ],
)
def test_known_errors_say_what_and_what_to_do(
    error: Exception, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(error, debug=False) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(text)


@pytest.mark.parametrize("debug", [False, True])
def test_the_text_of_foreign_errors_stays_hidden(debug: bool, capsys: pytest.CaptureFixture[str]) -> None:
    for error in (KeyError("anna@example.com"), ValueError("bad line: anna@example.com"), OSError("anna@example.com")):
        assert exit_code_of(caught(error), debug=debug) == 1
    err = capsys.readouterr().err
    leaked = "anna" in err
    assert not leaked
    assert "unexpected KeyError" in err
    assert ("in caught" in err) == debug


def test_usage_errors_are_left_to_typer() -> None:
    for error in (typer.Exit(3), typer.Abort(), typer.BadParameter("x")):
        assert exit_code_of(error, debug=False) is None
