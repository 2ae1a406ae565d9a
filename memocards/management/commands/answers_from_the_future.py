from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

from memocards.learning.future_answers import answers_from_the_future, bring_back


class Command(BaseCommand):
    help = (
        "Lists answers that are later than now: the hub took them while its clock was fast, and their cards stay due "
        "far ahead. --bring-back sets them to when the client says that they were given, or to now, and computes "
        "progress again. See to the clock first."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--bring-back", action="store_true", help="mend them, each learner in one transaction")

    def handle(self, *args: Any, **options: Any) -> None:
        counts = answers_from_the_future()
        if not counts:
            self.stdout.write("No answer is later than now.")
        names = get_user_model()._default_manager.in_bulk(counts)
        for learner_id, count in counts.items():
            line = f"{names[learner_id]}: {count:,} answers are later than now"
            if options["bring_back"]:
                brought = bring_back(learner_id=learner_id)
                line = (
                    f"{names[learner_id]}: {brought.answers:,} answers brought back, {brought.progress:,} cards changed"
                )
            self.stdout.write(f"{line}.")
        if counts and not options["bring_back"]:
            self.stdout.write("With --bring-back they are mended.")
