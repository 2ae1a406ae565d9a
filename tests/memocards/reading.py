"""What a reviewer has read, as each way of approving says it."""

from typing import Any

from memocards.content.versions import versions_of


def read(*rows: Any) -> dict[str, Any]:
    """The body of an approval over REST of these questions, or cards, as they are now."""
    versions = versions_of(type(rows[0]), [row.pk for row in rows])
    return {"items": [{"id": key, "version": version} for key, version in versions.items()]}
