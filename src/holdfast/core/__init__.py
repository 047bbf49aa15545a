"""Pure decisions: plain data in, plain data out. Imports ``holdfast.errors`` and nothing else of ours."""
