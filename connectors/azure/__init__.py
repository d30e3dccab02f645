"""What targets on Azure have in common: identity."""
