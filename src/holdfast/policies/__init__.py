"""One middleware per file: the waiting and the sending around the decisions in ``holdfast.core``."""
