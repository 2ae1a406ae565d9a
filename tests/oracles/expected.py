"""What a subscriber ought to hold, by the source tables alone: computed in Python, without the catalogue's SQL."""

from memocards.models import CardProgress
from publish.kinds import CATALOGUE
from publish.subscribers import Reader
from publish.verify import Drift, compare, one_snapshot
from tests.memocards.outbox import truth
from tests.oracles.following import Held, Key


def expected() -> dict[Key, Held]:
    """Every live source row under its key."""
    owners: dict[int, int] = dict(CardProgress.objects.values_list("pk", "learner_id"))
    return {
        key: Held(payload, owners[key[1]] if key[0] == "card_progress" else None)
        for key, payload in truth().items()
        if payload is not None
    }


def seen_by(reader: Reader, rows: dict[Key, Held]) -> dict[Key, Held]:
    """Those of the rows that the reader may see."""
    return {
        key: held
        for key, held in rows.items()
        if (not reader.kinds or key[0] in reader.kinds)
        and (held.learner_id is None or reader.all_learners or held.learner_id == reader.learner_id)
    }


def drift(*, page_rows: int = 20_000) -> list[Drift]:
    """What verify_publish finds, pending rows taken as published."""
    with one_snapshot():
        return [
            found for kind in CATALOGUE.values() for page in compare(kind, page_rows=page_rows) for found in page.drift
        ]


def pending() -> int:
    """How many keys verify_publish finds on their way through the outbox."""
    with one_snapshot():
        return sum(page.pending for kind in CATALOGUE.values() for page in compare(kind))
