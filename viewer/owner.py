"""Whose database this is. It belongs to one subscriber of one hub, and so to one learner: nobody else's rows come into
it, and what was answered here is sent as nobody else's answer.

The hub says who a token is, on every page. That a pair of HUB_URL and HUB_TOKEN is the owner's is noted once the hub
has said so; until then nothing is applied, and nothing is sent.
"""

import hashlib
from pathlib import Path

from django.conf import settings
from django.db import transaction

from viewer.identity import Identity
from viewer.models import Owner, Rating
from viewer.state import locked_state


class OtherOwner(Exception):
    """The token is somebody else's. `str()` is for the learner: whose the database is, and what to do."""


def current_owner() -> Owner | None:
    return Owner.objects.filter(pk=1).first()


def confirmed_owner() -> Owner | None:
    """The owner, if the hub has said that the present HUB_URL and HUB_TOKEN are theirs."""
    owner = current_owner()
    return owner if owner and owner.hub and not is_anothers(owner) else None


def confirm(identity: Identity) -> None:
    """Note that the present HUB_URL and HUB_TOKEN are the owner's. An empty database becomes theirs.

    Raises OtherOwner.
    """
    with transaction.atomic():
        locked_state()
        owner = current_owner()
        if owner is not None and owner.hub is None:
            if is_anothers(owner):
                raise OtherOwner(_of_a_former_version())
            Rating.objects.filter(hub=None).update(hub=identity.hub, learner_id=identity.learner_id)
        elif owner is not None:
            require(owner, identity)
        set_owner(identity, sources=owner.sources if owner else [])


def require(owner: Owner | None, identity: Identity) -> None:
    """Raises OtherOwner unless the database is this subscriber's."""
    if owner is None or identity_of(owner) != identity:
        raise OtherOwner(_of_somebody_else(owner, identity))


def set_owner(identity: Identity, *, sources: list[str]) -> None:
    """Make the database this subscriber's, by the present settings too. The caller holds the state's lock."""
    Owner.objects.update_or_create(
        pk=1,
        defaults={
            "hub": identity.hub,
            "subscriber_id": identity.subscriber_id,
            "learner_id": identity.learner_id,
            "hub_url": settings.HUB_URL,
            "sources": [*(source for source in sources if source != _source()), _source()],
        },
    )


def identity_of(owner: Owner | None) -> Identity | None:
    """Who the owner is; None where the hub has not said so yet."""
    if owner is None or owner.hub is None or owner.subscriber_id is None:
        return None
    return Identity(owner.hub, owner.subscriber_id, owner.learner_id)


def is_anothers(owner: Owner | None) -> bool:
    """Whether the present HUB_URL and HUB_TOKEN are not known to be this owner's."""
    return owner is not None and _source() not in owner.sources


def changed_settings_sentence(owner: Owner | None) -> str:
    """What the pages say while the settings may be another's than the owner's; mostly nothing."""
    if not is_anothers(owner):
        return ""
    return (
        f"{_belongs(owner)} HUB_URL or HUB_TOKEN have changed since. Ratings are kept here for their owner and not "
        f"sent, until `python -m viewer sync` has heard from the hub that it is the same one. {_a_second_viewer()}"
    )


def _source() -> str:
    """The present HUB_URL and HUB_TOKEN. A hash, because the token is a secret and the database is not."""
    return hashlib.sha256(f"{settings.HUB_URL}\n{settings.HUB_TOKEN}".encode()).hexdigest()


def _belongs(owner: Owner | None) -> str:
    database = settings.DATABASES["default"]["NAME"]
    if owner is None or (identity := identity_of(owner)) is None:
        return f"This viewer's database, {database}, was filled with another HUB_URL or HUB_TOKEN."
    return f"This viewer's database, {database}, belongs to {identity}, last at {owner.hub_url}."


def _of_somebody_else(owner: Owner | None, identity: Identity) -> str:
    return f"{_belongs(owner)} HUB_TOKEN is that of {identity}. {_what_to_do()}"


def _of_a_former_version() -> str:
    return (
        f"{_belongs(None)} It is from before viewers noted whose it is: start this once as before, so that the hub can "
        f"say so. {_what_to_do()}"
    )


def _what_to_do() -> str:
    return (
        f"Nothing was changed, and nothing was sent. {_a_second_viewer()} To give this database to the other token and "
        "begin anew: `python -m viewer sync --adopt`."
    )


def _a_second_viewer() -> str:
    if Path(settings.DATABASES["default"]["NAME"]) == settings.DATA_DIR / "viewer.sqlite3":
        other = settings.DATA_DIR.with_name(f"{settings.DATA_DIR.name}-2")
        return f"A second viewer needs a folder of its own: set DATA_DIR, such as DATA_DIR={other}."
    return "A second viewer needs a database of its own: set VIEWER_DATABASE_URL to another one."
