import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from memocards.learning.erasing import count_of, erase_learner


class Command(BaseCommand):
    help = (
        "Deletes a learner's reviews and progress for good, tells every viewer to forget them, and revokes the tokens "
        "bound to the learner, in one transaction. The account stays."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        username = options["username"]
        users = get_user_model()
        learner = users._default_manager.filter(**{users.USERNAME_FIELD: username}).first()
        if learner is None:
            raise CommandError(f"There is no user {username!r}. Check the spelling.")
        if not options["yes"]:
            self._ask(username, learner.pk)
        erased = erase_learner(learner_id=learner.pk)
        self.stdout.write(
            f"Erased of {username}: {erased.reviews:,} reviews and {erased.progress:,} progress rows. "
            f"{erased.tombstones:,} tombstones are on their way to the viewers, {erased.subscribers:,} tokens revoked."
        )
        if not settings.PUBLISH_ENABLED:
            self.stderr.write(
                "Publishing is switched off, so no viewer was told. Switch it on and run verify_publish --repair."
            )

    def _ask(self, username: str, learner_id: int) -> None:
        held = count_of(learner_id)
        if not sys.stdin.isatty():
            raise CommandError("This deletes for good, and there is nobody to ask. Add --yes if it is meant.")
        self.stdout.write(
            f"This deletes {held.reviews:,} reviews and {held.progress:,} progress rows of {username} for good, "
            f"and revokes {held.subscribers:,} tokens."
        )
        self.stdout.write("Go on? [y/N] ", ending="")
        self.stdout.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise CommandError("Nothing was deleted.")
