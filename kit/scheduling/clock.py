"""Study days."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class StudyClock:
    """Study days begin at `rollover_hour` (0–23) on the wall clock of `time_zone` (an IANA name).

    Where the wall clock jumps over that hour, the day begins with the jump; where it shows the hour twice,
    with the first time. So days follow one another without gap or overlap, also where clocks go back over the
    rollover. A date that a zone left out (30 December 2011 in Samoa) begins with the jump over it, and is
    empty if days begin at midnight.

    Raises ValueError for an hour out of range, and what ZoneInfo raises for a zone that it does not know.
    """

    time_zone: str
    rollover_hour: int
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.rollover_hour <= 23:
            raise ValueError(f"rollover_hour is an hour from 0 to 23, not {self.rollover_hour}.")
        object.__setattr__(self, "_zone", ZoneInfo(self.time_zone))

    def study_day(self, instant: datetime) -> date:
        """The study day to which `instant` belongs: aware, in any zone; ValueError for a naive one."""
        if instant.utcoffset() is None:
            raise ValueError("An instant needs a time zone.")
        wall = instant.astimezone(self._zone)
        day = wall.date() if wall.hour >= self.rollover_hour else wall.date() - timedelta(days=1)
        # Clocks that went back over the rollover show the day before once more. The new day has begun all the
        # same: otherwise a later answer could fall on an earlier day.
        following = day + timedelta(days=1)
        return following if self.start_of(following) <= instant else day

    def start_of(self, day: date) -> datetime:
        """The instant, in UTC, at which the study day `day` begins."""
        wall = datetime.combine(day, time(self.rollover_hour), self._zone)
        start = wall.astimezone(UTC)
        if start.astimezone(self._zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
            return start
        return self._jump(wall.replace(fold=1).astimezone(UTC), start)

    def _jump(self, before: datetime, after: datetime) -> datetime:
        """The first instant in (before, after] with another offset than `before`, to the second.

        The two readings of a time that no wall clock shows lie on either side of the jump over it (PEP 495).
        """
        offset = before.astimezone(self._zone).utcoffset()
        low, high = 0, int((after - before).total_seconds())
        while high - low > 1:
            middle = (low + high) // 2
            instant = (before + timedelta(seconds=middle)).astimezone(self._zone)
            low, high = (middle, high) if instant.utcoffset() == offset else (low, middle)
        return before + timedelta(seconds=high)
