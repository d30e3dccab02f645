"""Bus → targets. One folder per target; ``base`` is the contract, ``registry`` the name → factory table."""
