"""Which behaviour does the next request get? The script of each path, in order, the last one repeating.

No I/O: the server's thread asks, any thread may write a new script.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from holdfast.testing.faulty.behaviours import Answer
from holdfast.testing.faulty.exchange import Behaviour
from holdfast.testing.faulty.ledger import Received

Step: TypeAlias = Behaviour | Callable[[Received], Behaviour]


@dataclass(slots=True)
class _Script:
    steps: tuple[Step, ...]
    next: int = 0


class Routes:
    """Scripts by path; a path without one gets the default."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scripts: dict[str, _Script] = {}
        self._default: Step = _named

    def on(self, path: str, steps: tuple[Step, ...]) -> None:
        if not path.startswith("/") or "?" in path:
            raise ValueError(f"path must start with a slash and have no query, got {path!r}")
        if not steps:
            raise ValueError(f"{path} needs at least one behaviour")
        with self._lock:
            self._scripts[path] = _Script(steps)

    def default(self, step: Step) -> None:
        with self._lock:
            self._default = step

    def answers_early(self, path: str) -> bool:
        """Whether the next behaviour wants the head alone; a function wants the whole request."""
        with self._lock:
            script = self._scripts.get(path)
            step = script.steps[script.next] if script else self._default
        return isinstance(step, Behaviour) and step.early

    def take(self, request: Received) -> Behaviour:
        """The behaviour for this request; moves the path's script on."""
        with self._lock:
            step = self._default
            if script := self._scripts.get(request.path):
                step = script.steps[script.next]
                script.next = min(script.next + 1, len(script.steps) - 1)
        # Outside the lock: a user's function may well call server.on().
        return step if isinstance(step, Behaviour) else step(request)


def _named(request: Received) -> Behaviour:
    text = f"{request.method} {request.target}".encode("latin-1")
    return Answer(body=text, headers=(("content-type", "text/plain"),))
