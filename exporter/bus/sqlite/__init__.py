"""The bus in one SQLite file: the same port for one machine, several processes."""
