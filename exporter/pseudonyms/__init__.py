"""Pseudonyms that can be shredded: per person and per epoch (docs/privacy/pseudonyms.md).

``index = HMAC(K, kind ‖ value)`` under the epoch's random key ``K``; a store maps the index to a random salt; ``token =
HMAC(salt, kind)``. Without the salt nobody can compute the token again, not even with the key and the value; without ``K`` nobody
can tell which salt was whose. Both lie in the store sealed under a key derived from the master key, for each tenant its own.
"""
