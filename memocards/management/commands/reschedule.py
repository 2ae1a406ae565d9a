from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from kit.arguments import positive
from kit.progress import Progress
from kit.stopping import StopRequest
from memocards.learning.rescheduling import outdated, reschedule_page
from memocards.models import Topic


class Command(BaseCommand):
    help = (
        "Computes progress again where scheduler or settings have changed since, page by page, each page committed. "
        "Ctrl-C or SIGTERM finishes the page; run again, it goes on with what is left."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--topic", action="append", metavar="NAME", help="only this topic; may be repeated (default: all)"
        )
        parser.add_argument("--learner", metavar="USERNAME", help="only this learner (default: all)")
        parser.add_argument("--page-size", type=positive, default=500, metavar="N", help="rows a transaction (500)")

    def handle(self, *args: Any, **options: Any) -> None:
        learner_id = None if options["learner"] is None else _learner(options["learner"])
        topic_ids = None if options["topic"] is None else _topics(options["topic"])
        stop = StopRequest().install()
        counts = outdated(learner_id=learner_id, topic_ids=topic_ids)
        rows = changed = 0
        with Progress("reschedule", total=sum(counts.values()), unit="rows", stream=self.stderr) as bar:
            for owner in counts:
                after_id: int | None = 0
                while after_id is not None and not stop:
                    page = reschedule_page(
                        learner_id=owner, topic_ids=topic_ids, after_id=after_id, limit=options["page_size"]
                    )
                    rows, changed, after_id = rows + page.rows, changed + page.changed, page.last_id
                    bar.advance(page.rows)
        self.stdout.write(f"{rows:,} rows were outdated, {changed:,} of them changed.")
        if stop and rows < sum(counts.values()):
            self.stdout.write("Stopped before the end. The same command goes on with what is left.")


def _learner(username: str) -> int:
    users = get_user_model()
    learner = users._default_manager.filter(**{users.USERNAME_FIELD: username}).first()
    if learner is None:
        raise CommandError(f"There is no user {username!r}. Check the spelling.")
    return int(learner.pk)


def _topics(names: list[str]) -> list[int]:
    keys_by_name = dict(Topic.objects.filter(name__in=names, deleted_at__isnull=True).values_list("name", "pk"))
    for name in names:
        if name not in keys_by_name:
            raise CommandError(f"There is no topic {name!r}. Check the spelling; a deleted topic cannot be named.")
    return list(keys_by_name.values())
