"""How far the feed was followed, and how it went last: the one row of SyncState."""

from datetime import timedelta

from django.utils import timezone

from viewer.hub_responses import LONGEST_REST_SECONDS, HubAway, LearnerErased, TokenRefused
from viewer.models import SyncState

REST_AFTER_TIMEOUT = timedelta(seconds=15)


def current_state() -> SyncState:
    return SyncState.objects.get_or_create(pk=1)[0]


def locked_state() -> SyncState:
    """The state row, locked. SQLite's transactions are one after the other anyway; PostgreSQL's are not."""
    current_state()
    return SyncState.objects.select_for_update(no_key=True).get(pk=1)


def begin_scan(state: SyncState) -> None:
    """Go to the empty cursor, in a generation of its own. The caller holds the state's lock, and saves."""
    state.generation += 1
    state.cursor = ""
    state.scanning = True
    state.seq = 0
    state.at_head = False
    state.learner_id = None
    state.several_learners = False


def record_failure(error: HubAway | TokenRefused) -> None:
    """Keep the failure's sentence for the pages, and when to leave the hub alone."""
    rest = None
    failure = SyncState.Failure.TOKEN
    states = SyncState.objects.filter(pk=1)
    current_state()
    if isinstance(error, LearnerErased):
        failure = SyncState.Failure.ERASED
    elif isinstance(error, HubAway):
        failure = SyncState.Failure.AWAY
        # A hub that is away has not taken back that it erased the learner.
        states = states.exclude(failure=SyncState.Failure.ERASED)
        if error.retry_after is not None:
            rest = timedelta(seconds=error.retry_after)
        elif error.slow:
            rest = REST_AFTER_TIMEOUT
    states.update(
        failure=failure,
        failure_sentence=str(error),
        rest_until=timezone.now() + rest if rest else None,
    )


def record_answer() -> None:
    """The hub answered a rating, so it is not away, whatever was noted before."""
    SyncState.objects.filter(pk=1, failure=SyncState.Failure.AWAY).update(
        failure=SyncState.Failure.NONE, failure_sentence="", rest_until=None
    )


def is_resting(state: SyncState) -> bool:
    """Whether the hub is to be left alone for now. A rest that seems longer than any was noted by a wrong clock."""
    if state.rest_until is None:
        return False
    left = state.rest_until - timezone.now()
    return timedelta() < left <= timedelta(seconds=LONGEST_REST_SECONDS)
