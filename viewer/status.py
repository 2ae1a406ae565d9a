"""How fresh the pages are, in sentences: nothing here is hidden from the learner."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count

from viewer.models import Rating, SyncState, UnknownItem
from viewer.owner import changed_settings_sentence, current_owner, is_anothers
from viewer.ratings import ratings_of_others
from viewer.results import of_owner
from viewer.state import current_state

# The long poll comes back every 25 seconds, so a minute or two of silence means that nobody is asking.
SILENCE = timedelta(minutes=2)
# A relay that is started anew is back within seconds.
HUB_SILENCE = timedelta(seconds=30)


@dataclass(frozen=True)
class KeptKind:
    kind: str
    schema_version: int
    reason: str
    number: int


@dataclass(frozen=True)
class Status:
    state: SyncState
    waiting: int
    refused: list[Rating]
    # Made with another token, and not accepted by its hub.
    of_others: list[Rating]
    kept: list[KeptKind]
    # Each a sentence, the most pressing first.
    warnings: list[str] = field(default_factory=list)

    @property
    def never_synced(self) -> bool:
        return self.state.synced_at is None


def current_status(now: datetime) -> Status:
    state = current_state()
    owner = current_owner()
    mine = Rating.objects.filter(of_owner(owner)) if owner else Rating.objects.none()
    kept = [
        KeptKind(**row)
        for row in UnknownItem.objects.values("kind", "schema_version", "reason")
        .annotate(number=Count("pk"))
        .order_by("kind", "schema_version", "reason")
    ]
    return Status(
        state=state,
        waiting=mine.filter(state=Rating.State.WAITING).count(),
        refused=list(mine.filter(state=Rating.State.REFUSED).order_by("reviewed_at", "id")[:20]),
        of_others=list(ratings_of_others(owner).order_by("reviewed_at", "id")[:20]),
        kept=kept,
        warnings=_warnings(state, changed_settings_sentence(owner), kept, now),
    )


def _warnings(state: SyncState, changed_settings: str, kept: list[KeptKind], now: datetime) -> list[str]:
    sentences = []
    if changed_settings:
        sentences.append(changed_settings)
    elif state.failure:
        sentences.append(state.failure_sentence)
        if state.synced_at and state.failure != SyncState.Failure.ERASED:
            sentences.append("You can go on studying. Ratings are kept here and sent later.")
    elif state.synced_at and now - state.synced_at > SILENCE:
        sentences.append("Nobody follows the hub's feed at the moment. Is `python -m viewer sync` running?")
    elif minutes := _silent_minutes(state, now):
        sentences.append(
            f"The hub has not published for {minutes} minute{'s' if minutes > 1 else ''}: what is changed there does "
            "not arrive here. Tell whoever runs it that its relay has stopped."
        )
    if state.scanning and state.synced_at:
        sentences.append("The feed is being read from its start. Until then some of this may be outdated.")
    if state.several_learners:
        sentences.append(
            "This HUB_TOKEN brings the progress of several learners, and a viewer is for one. "
            "Make a token for one with `manage.py create_subscriber NAME --learner USERNAME` on the hub."
        )
    if kept:
        number = sum(row.number for row in kept)
        what = "a row" if number == 1 else f"{number} rows"
        sentences.append(f"The hub publishes {what} that this viewer cannot show. A newer version will.")
    return sentences


def _silent_minutes(state: SyncState, now: datetime) -> int:
    """For how many minutes the hub has not published although it answers; 0 while all is well."""
    if state.synced_at is None or state.published_at is None or state.synced_at - state.published_at < HUB_SILENCE:
        return 0
    return max(int((now - state.published_at).total_seconds() // 60), 1)


def study_note() -> str:
    """What someone in the middle of studying should know, in one line; mostly nothing."""
    if is_anothers(current_owner()):
        return "HUB_URL or HUB_TOKEN have changed. Ratings are kept here for whoever this database belongs to."
    failure = current_state().failure
    if failure == SyncState.Failure.ERASED:
        return "The hub has erased this learner. What is rated here counts nowhere."
    if failure == SyncState.Failure.TOKEN:
        return "The hub does not take this viewer's token. Ratings are kept here."
    return "The hub is away. Ratings are kept here and sent later." if failure else ""
