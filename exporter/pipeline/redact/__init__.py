"""Redaction: packs of rules, the block scanner, exact spans, one splice (`rules`, `scan`, `engine`, `values`)."""
