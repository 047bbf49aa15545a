"""Where stored answers live; `base` is the contract, and nothing is imported here that is not asked for."""
