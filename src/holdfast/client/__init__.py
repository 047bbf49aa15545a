"""The resource layer: requests are values."""
