"""The guids that exports give to cards, by which Anki knows them, and an import finds them again."""

import genanki

from memocards.models import MemoCard


def own_guid(card: MemoCard) -> str:
    """The guid of a card that cannot be called by its external id: made from its primary key and its creation."""
    return str(genanki.guid_for("studyhub", card.pk, card.created_at.isoformat()))
