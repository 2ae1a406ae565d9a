"""`python -m viewer sync --adopt`: give the database to the present token, and begin anew.

Rows of the former owner go. Their ratings that have not reached the hub stay, as theirs: they are listed first, shown
on the home page, and sent only if the database is given back to them.
"""

from collections.abc import Callable

from django.db import transaction

from viewer.feed_client import FeedClient
from viewer.identity import Identity
from viewer.kinds import CATALOGUE
from viewer.models import Card, Rating, SyncState, UnknownItem
from viewer.owner import current_owner, identity_of, set_owner
from viewer.results import of_owner
from viewer.state import begin_scan, locked_state


def adopt(client: FeedClient, *, is_meant: Callable[[str], bool], say: Callable[[str], None]) -> bool:
    """Give the database to whom the token is; where ratings would be left behind, only if that `is_meant`.

    Returns whether it is theirs now. Raises HubAway, TokenRefused.
    """
    identity = client.ask_identity()
    left_behind = [] if _same_learner(identity) else _not_accepted()
    if left_behind:
        _list(left_behind, say)
        if not is_meant("Give the database to the other token?"):
            return False
    _give(identity)
    say(f"The database belongs to {identity}.")
    return True


def _same_learner(identity: Identity) -> bool:
    former = identity_of(current_owner())
    return former is not None and (former.hub, former.learner_id) == (identity.hub, identity.learner_id)


def _not_accepted() -> list[Rating]:
    owner = current_owner()
    if owner is None:
        return []
    ratings = Rating.objects.filter(of_owner(owner)).exclude(state=Rating.State.ACCEPTED)
    return list(ratings.order_by("reviewed_at", "id"))


def _list(ratings: list[Rating], say: Callable[[str], None]) -> None:
    owner = identity_of(current_owner())
    say(f"{len(ratings)} ratings of {owner or 'the former token'} have not reached the hub:")
    fronts = dict(Card.objects.filter(pk__in={rating.card_id for rating in ratings}).values_list("pk", "front"))
    for rating in ratings:
        front = " ".join(fronts.get(rating.card_id, "").split())[:60]
        moment = f"{rating.reviewed_at:%Y-%m-%d %H:%M} UTC"
        say(f"  {moment}  {rating.get_outcome_display():5}  card {rating.card_id}  {front}")
    say(
        "They cannot be sent with this token. They stay in the database, the home page shows them, and they are sent "
        "if the database is given back to their own token. To send them first, stop here and run "
        "`python -m viewer sync` with that token."
    )


def _give(identity: Identity) -> None:
    with transaction.atomic():
        state = locked_state()
        former = current_owner()
        if identity_of(former) == identity:
            set_owner(identity, sources=former.sources if former else [])
            return
        if not _same_learner(identity):
            for kind in CATALOGUE.values():
                kind.model._default_manager.all().delete()
            UnknownItem.objects.all().delete()
            Rating.objects.filter(state=Rating.State.ACCEPTED).delete()
            Rating.objects.update(holds_card=False)
            state.synced_at = None
        begin_scan(state)
        state.failure = SyncState.Failure.NONE
        state.failure_sentence = ""
        state.rest_until = None
        state.save()
        set_owner(identity, sources=[])
