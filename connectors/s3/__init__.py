"""Amazon S3 and compatible stores: one compressed, immutable object per batch and hour of event time, each event once."""

from connectors.base import ConnectorFactory
from connectors.s3.connector import S3Connector
from connectors.s3.settings import S3Settings

FACTORY = ConnectorFactory("s3", S3Settings, S3Connector)

__all__ = ["FACTORY"]
