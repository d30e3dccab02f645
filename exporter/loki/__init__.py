"""Reading Grafana Loki provably whole. Start with :mod:`exporter.loki.reader`; :mod:`exporter.loki.proof` holds the rules."""
