"""When an answer was given: what the client's clock claims, read by the hub's.

1. **The line is not the clock.** The hub's clock less `client_now` is by how much the client's is slow, and how long
   the request travelled; nothing tells the two apart. But a line makes a clock look slow, never fast. So one that
   looks slow by less than a minute is right, and the times that it claims are stored as they are. One that looks slow
   by a minute or more, or fast at all, is wrong: every time of the request is corrected by the difference, and what is
   left of the error is no more than the time of travel.
2. **Nothing is from the future.** What is later than now even so becomes now: in its order, a tenth of a millisecond
   apart.
3. **The order stays.** A correction never reverses the order in which one device claims to have given its answers:
   not within a request, and not against answers that are stored, whichever arrived first. An answer that would end on
   the wrong side of one of them is put next to it: as far apart or, where there is less room, evenly between two. Who
   sent an answer is not stored; two of one learner are taken for one device's if their corrections differ by no more
   than ONE_DEVICE, which is longer than lines hold a request. (So are those of two devices whose clocks are that close.
   Where both are right nothing is corrected, and it costs nothing.)
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final, Protocol, TypeAlias
from uuid import UUID

from django.db.models import F, Q
from django.utils.translation import gettext as _

from memocards.errors import Invalid

# A clock outside of these is broken; and so far from the calendar's ends a difference can always be added.
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(3000, 1, 1, tzinfo=UTC)
LINE: Final = timedelta(minutes=1)
ONE_DEVICE: Final = timedelta(minutes=5)
TICK: Final = timedelta(microseconds=1)
# Room for what comes in between later; and a thousand answers take a tenth of a second.
_APART: Final = timedelta(microseconds=100)

# Review id → when the answer was given, by the client's clock; None: as it was sent. In the order of the request.
Claims: TypeAlias = Mapping[UUID, datetime | None]


@dataclass(frozen=True)
class Moment:
    """When an answer was given, by the hub's clock. `clamped`: what was claimed lay in the future."""

    at: datetime
    clamped: bool = False


class Stored(Protocol):
    """An answer that is stored, such as a Review: when it was given, by the hub's clock and by the client's."""

    reviewed_at: datetime
    claimed_at: datetime | None


@dataclass(frozen=True)
class _Reading:
    key: UUID
    claimed: datetime
    moment: Moment

    @property
    def correction(self) -> timedelta:
        return self.moment.at - self.claimed


@dataclass(frozen=True)
class Neighbours:
    """Of one learner's reviews those among which the answers of a request take their place: a range of `reviewed_at`.

    `correction`: that of the request. What was corrected by as much is in order by itself; so as long as a clock is
    right none is `out_of_step`, and the others need not be read.
    """

    all: Q
    correction: timedelta

    @property
    def out_of_step(self) -> Q:
        return self.all & ~Q(reviewed_at=F("claimed_at") + self.correction)

    def is_out_of_step(self, other: Stored) -> bool:
        return other.claimed_at is not None and other.reviewed_at - other.claimed_at != self.correction


def neighbours(claims: Claims, client_now: datetime | None, now: datetime) -> Neighbours:
    """Those of a request; none, where it claims no time or cannot be read."""
    try:
        readings = _readings(claims, _moments(claims, client_now, now))
        correction = _correction(claims, client_now, now)
    except Invalid:
        readings = []
    if not readings:
        return Neighbours(Q(pk__in=[]), timedelta(0))
    times = [reading.moment.at for reading in readings]
    corrections = [reading.correction for reading in readings]
    near = Q(
        reviewed_at__range=(min(times) - ONE_DEVICE, max(times) + ONE_DEVICE),
        claimed_at__range=(
            F("reviewed_at") - (max(corrections) + ONE_DEVICE),
            F("reviewed_at") - (min(corrections) - ONE_DEVICE),
        ),
    )
    return Neighbours(near, correction)


def moments(
    claims: Claims, client_now: datetime | None, now: datetime, stored: Collection[Stored]
) -> dict[UUID, Moment | Invalid]:
    """When each answer of a request was given, by the rule above, or why that cannot be said.

    `stored`: the learner's neighbours() of these answers; more do no harm. Raises Invalid for `client_now`.
    """
    read = _moments(claims, client_now, now)
    known = [(other.claimed_at, other.reviewed_at) for other in stored if other.claimed_at is not None]
    if not known:
        return read
    readings = sorted(_readings(claims, read), key=lambda reading: reading.claimed)
    for bounds, group in groupby(readings, key=lambda reading: _bounds(reading, known)):
        read.update(_between(*bounds, list(group), now))
    return read


def _moments(claims: Claims, client_now: datetime | None, now: datetime) -> dict[UUID, Moment | Invalid]:
    """Each answer by itself: corrected, and at the latest now."""
    correction = _correction(claims, client_now, now)
    read: dict[UUID, Moment | Invalid] = {}
    corrected: list[tuple[datetime, int, UUID]] = []
    for place, (key, claimed) in enumerate(claims.items()):
        try:
            corrected.append((_corrected(claimed, correction, now), place, key))
        except Invalid as refusal:
            read[key] = refusal
    latest = now
    for moment, _place, key in sorted(corrected, reverse=True):
        read[key] = Moment(min(moment, latest), clamped=moment > latest)
        if moment > latest:
            latest -= _APART
    return read


def _correction(claims: Claims, client_now: datetime | None, now: datetime) -> timedelta:
    """What is added to each time of the request. Where no time is claimed, nobody asks the clock."""
    if client_now is None or all(claimed is None for claimed in claims.values()):
        return timedelta(0)
    _require_sane("client_now", client_now)
    slow = now - client_now
    return timedelta(0) if timedelta(0) <= slow < LINE else slow


def _corrected(claimed: datetime | None, correction: timedelta, now: datetime) -> datetime:
    """When the answer was given by the hub's clock, which may yet lie in the future."""
    if claimed is None:
        return now
    _require_sane("reviewed_at", claimed)
    if claimed + correction < _EARLIEST:
        raise Invalid({"reviewed_at": [_("By client_now this is before the year 2000. Set the clock of the device.")]})
    return claimed.astimezone(UTC) + correction


def _require_sane(name: str, moment: datetime) -> None:
    if moment < _EARLIEST:
        raise Invalid({name: [_("This is before the year 2000. Set the clock of the device.")]})
    if moment >= _LATEST:
        raise Invalid({name: [_("This is after the year 2999. Set the clock of the device.")]})


def _readings(claims: Claims, read: Mapping[UUID, Moment | Invalid]) -> list[_Reading]:
    """The answers that claim a time which can be."""
    return [
        _Reading(key, claimed, moment)
        for key, claimed in claims.items()
        if claimed is not None and isinstance(moment := read[key], Moment)
    ]


def _bounds(reading: _Reading, known: Sequence[tuple[datetime, datetime]]) -> tuple[datetime | None, datetime | None]:
    """After and before which times an answer was given, by those of its device that are stored: (claimed, given)."""
    same = [(claimed, at) for claimed, at in known if abs(at - claimed - reading.correction) <= ONE_DEVICE]
    after = max((at for claimed, at in same if claimed < reading.claimed), default=None)
    before = min((at for claimed, at in same if claimed > reading.claimed), default=None)
    # Of two devices each may be in order while both together are not. Then what was given earlier counts.
    return after, before if before is None or after is None or after < before else None


def _between(
    after: datetime | None, before: datetime | None, readings: Sequence[_Reading], now: datetime
) -> dict[UUID, Moment]:
    """These answers, in the order in which they were given, between two that are stored: those that lie outside by
    their own times at the edge, all in their order. (Both edges rise by a step with each answer, so the times rise.)"""
    room = _APART
    # Where the hub's clock was set back, what is stored may lie in the future: then the order goes first.
    end = before if before is not None else now + TICK
    if after is not None and after < end:
        room = min(_APART, (end - after) / (len(readings) + 1))
    placed: dict[UUID, Moment] = {}
    for number, reading in enumerate(readings):
        at = reading.moment.at
        if before is not None:
            at = min(at, before - room * (len(readings) - number))
        if after is not None:
            at = max(at, after + room * (number + 1))
        placed[reading.key] = Moment(at, reading.moment.clamped)
    return placed
