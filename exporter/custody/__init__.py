"""The ledger: an append-only record of every commit, chained by hash per shard."""
