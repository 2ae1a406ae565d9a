"""Who a token is, as the hub says it on every page."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Identity:
    """A subscriber of a hub, bound to one learner or to none."""

    hub: UUID
    subscriber_id: int
    learner_id: int | None

    def __str__(self) -> str:
        learner = "no learner" if self.learner_id is None else f"learner {self.learner_id}"
        return f"{learner} (subscriber {self.subscriber_id} of hub {str(self.hub)[:8]})"
