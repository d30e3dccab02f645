"""Files of canonical events, one JSON object a line, written durably and exactly once."""

from connectors.base import ConnectorFactory
from connectors.file.connector import FileConnector
from connectors.file.settings import FileSettings

FACTORY = ConnectorFactory("file", FileSettings, FileConnector)

__all__ = ["FACTORY"]
