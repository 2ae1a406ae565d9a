from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from kit.progress import Progress
from memocards.errors import DomainError
from memocards.exporting import export_anki, live_topics
from memocards.models import LearnerSettings


class Command(BaseCommand):
    help = (
        "Writes the cards of topics as an Anki package, one deck for each topic. --learner adds that learner's "
        "scheduling and review history; a card that is never due again is suspended in it. Guids are stable: importing "
        "a newer package into Anki updates the notes that are there, and importing one here finds the cards again. "
        "Anki's tags have no blanks: `a b` becomes `a_b`, and stays so where it comes back; and tags that differ in "
        "capitals only are one tag to Anki. Control characters become U+FFFD. A side on which nothing would show, such "
        "as a mere definition of a link, shows its source."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("topics", nargs="+", metavar="TOPIC")
        parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.apkg")
        parser.add_argument("--learner", metavar="USERNAME", help="with this learner's scheduling")
        parser.add_argument("--waiting", action="store_true", help="with the cards that wait for review too")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["output"]
        try:
            topics = live_topics(options["topics"])
            with Progress(path.name, total=None, unit="cards", stream=self.stderr) as bar:
                done = export_anki(
                    topics,
                    path,
                    learner=_settings_of(options["learner"]),
                    waiting=options["waiting"],
                    on_written=bar.advance,
                )
        except DomainError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
        scheduling = f", {done.scheduled:,} with progress, {done.reviews:,} reviews" if options["learner"] else ""
        self.stdout.write(f"{path}: {done.notes:,} cards{scheduling}.")


def _settings_of(username: str | None) -> LearnerSettings | None:
    """The learner's settings, or unsaved ones that say nothing."""
    if username is None:
        return None
    user = get_user_model()._default_manager.filter(username=username).first()
    if user is None:
        raise CommandError(f"There is no user {username!r}.")
    return LearnerSettings.objects.filter(learner_id=user.pk).first() or LearnerSettings(learner_id=user.pk)
