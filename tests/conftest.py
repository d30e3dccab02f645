"""Loads the shared fixtures; helpers are imported from ``tests.support``, never from here."""

pytest_plugins = ["tests.support.fixtures", "tests.support.moto", "tests.support.azurite", "tests.support.lokis"]
