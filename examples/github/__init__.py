"""GitHub's REST API, as far as reading an organisation goes: typed, paced by its quota, cheap by its ETags."""
