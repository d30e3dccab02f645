"""The durable log between the two planes. ``base`` is the port; ``kafka`` and ``sqlite`` implement it under one contract
suite (``tests/contract/test_bus.py``).
"""
