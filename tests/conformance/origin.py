"""The origin of the conformance cases: it answers by the case, and remembers what it was asked.

Each case has a path of its own, and each request says by its ``Req-Num`` which of the case's requests it is. So a
request that is sent twice, by a retry or in the background, is answered alike both times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from holdfast.testing.faulty import Answer, Behaviour, Close, Received
from tests.conformance.cases import DATES, Case, Header, Step

ANSWERS: Final = "Server-Request-Count"
"""Names the request, counted from 1, that the origin made this answer for."""
NOW: Final = "Server-Now"
"""Wall seconds at the origin when it answered."""
NO_BODY: Final = frozenset((204, 304))

_NOT_CONDITIONAL: Final = (999, "304 Not Generated")
_LOCATIONS: Final = frozenset(("location", "content-location"))


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that reached the origin, and the fields of its answer that must reach the client."""

    request: Received
    number: int
    promised: tuple[tuple[str, str], ...]


class Origin:
    """Give `FaultyServer.default` its ``answer``. ``wall`` is the clock of its dates."""

    def __init__(self, cases: Sequence[Case], wall: Callable[[], float]) -> None:
        self._cases = cases
        self._wall = wall
        self._asked: dict[str, list[Asked]] = {case.id: [] for case in cases}
        self._sent: dict[tuple[str, int], list[tuple[str, str]]] = {}

    def path(self, case: Case) -> str:
        return f"/{self._cases.index(case)}"

    def asked(self, case: Case, number: int) -> Asked | None:
        """The request ``number`` of a case as it came, the last time it did."""
        return next((asked for asked in reversed(self._asked[case.id]) if asked.number == number), None)

    def times(self, case: Case, number: int) -> int:
        """How often it came."""
        return sum(asked.number == number for asked in self._asked[case.id])

    def answer(self, request: Received) -> Behaviour:
        case = self._cases[int(request.path.split("/")[1])]
        number = int(request.header("req-num") or 0)
        step = case.requests[number - 1]
        now = self._wall()
        headers = [(name, value) for name, value, _ in self._fields(step, request, now)]
        self._sent[case.id, number] = headers
        status, reason = self._status(case, number, request)
        promised: dict[str, str] = {}
        for name, _, checked in self._fields(step, request, now):
            if checked:
                promised[name] = ", ".join(value for other, value in headers if other == name)
        self._asked[case.id].append(Asked(request, number, tuple(promised.items())))
        if step.disconnect:
            return Close()
        added = [(ANSWERS, str(number)), (NOW, repr(now))]
        names = {name.lower() for name, _ in headers}
        if "content-type" not in names:
            added.append(("Content-Type", "text/plain"))
        if "date" not in names:  # RFC 9110 6.6.1: an origin with a clock says when
            added.append(("Date", http_date(now)))
        body = b"" if status in NO_BODY else (step.response_body or body_of(case)).encode("latin-1")
        return Answer(status, reason=reason, headers=[*added, *headers], body=body)

    def _fields(self, step: Step, request: Received, now: float) -> list[tuple[str, str, bool]]:
        return [
            (name, rendered((name, value), step, now, base=request.path), not said or said[0] is True)
            for name, value, *said in step.response_headers
        ]

    def _status(self, case: Case, number: int, request: Received) -> tuple[int, str]:
        """304 if the request has a validator of the answer before, 999 if it should have one and has not."""
        step = case.requests[number - 1]
        if step.expected_type not in ("etag_validated", "lm_validated"):
            return step.response_status or (200, "OK")
        before = case.requests[number - 2].response_headers
        sent = self._sent.get((case.id, number - 1)) or [(name, value) for name, value, *_ in before]
        validators = {name.lower(): value for name, value in sent}
        for condition, validator in (("if-none-match", "etag"), ("if-modified-since", "last-modified")):
            asked = request.header(condition)
            if asked is not None and asked == validators.get(validator):
                return 304, "Not Modified"
        return _NOT_CONDITIONAL


def body_of(case: Case) -> str:
    """The body of answers for which the case names none."""
    return str(uuid5(NAMESPACE_URL, case.id))


def rendered(header: Header | tuple[str, object], step: Step, now: float, *, base: str = "") -> str:
    """A field's value as it is sent at ``now``: numbers become dates, and Locations absolute paths."""
    name, value = header[0].lower(), header[1]
    if isinstance(value, int):
        assert name in DATES, f"a number in {name}"
        return http_date(now + value, rfc850=name in step.rfc850date)
    if step.magic_locations and name in _LOCATIONS:
        return f"{base}/{value}" if value else base
    return str(value)


def http_date(seconds: float, *, rfc850: bool = False) -> str:
    moment = datetime.fromtimestamp(int(seconds), UTC)
    if not rfc850:
        return format_datetime(moment, usegmt=True)
    day = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[moment.weekday()]
    month = format_datetime(moment)[8:11]
    return f"{day}, {moment:%d}-{month}-{moment:%y %H:%M:%S} GMT"
