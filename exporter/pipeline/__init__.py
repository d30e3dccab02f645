"""Entries of one tenant → redacted, encoded canonical events: parse, normalise, redact, encode, exit scan.

Read :mod:`exporter.pipeline.pipeline` for the order of the steps and why the line is redacted before it is parsed.
"""

from exporter.pipeline.compiling import compile_pipeline
from exporter.pipeline.pipeline import Pipeline

__all__ = ["Pipeline", "compile_pipeline"]
