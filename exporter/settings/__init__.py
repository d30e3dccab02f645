"""Configuration: ``model`` (typed, frozen), ``load`` (YAML → model, all errors at once), ``schema`` (JSON Schema)."""
