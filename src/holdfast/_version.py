"""The one place where the version is written; the build, the User-Agent and the docs read it here."""

from __future__ import annotations

__version__ = "0.1.0"
