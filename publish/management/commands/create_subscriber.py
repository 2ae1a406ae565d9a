from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from publish.kinds import CATALOGUE
from publish.subscribers import create_subscriber


class Command(BaseCommand):
    help = (
        "Registers a consumer of the feed and prints its token, once, alone on the last line. Without --learner or "
        "--all-learners it sees what everyone sees, and nobody's progress."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="a name that no other subscriber has")
        whose = parser.add_mutually_exclusive_group()
        whose.add_argument(
            "--learner", metavar="USERNAME", help="the token sees this learner's progress and may rate for them"
        )
        whose.add_argument("--all-learners", action="store_true", help="the token sees every learner's progress")
        parser.add_argument(
            "--kind", action="append", default=[], choices=list(CATALOGUE), help="only this kind; may be repeated"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        learner_id = None
        if options["learner"]:
            users = get_user_model()._default_manager
            learner = users.filter(**{get_user_model().USERNAME_FIELD: options["learner"]}).first()
            if learner is None:
                raise CommandError(f"There is no user {options['learner']!r}. Create one first, or check the spelling.")
            learner_id = learner.pk
        try:
            _subscriber, token = create_subscriber(
                name=options["name"],
                learner_id=learner_id,
                all_learners=options["all_learners"],
                kinds=options["kind"],
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stderr.write("This token is shown once and kept nowhere. Store it now.")
        self.stdout.write(token)
