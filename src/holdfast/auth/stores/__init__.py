"""Where secrets and tokens are kept; `base` is the contract, and nothing is imported here that is not asked for."""
