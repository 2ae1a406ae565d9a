from typing import Any

from django.core.management.base import BaseCommand

from publish.retention import new_feed_epoch


class Command(BaseCommand):
    help = (
        "Begins another epoch of the feed: every consumer starts over. Run it after a restore by other means than "
        "`manage.py restore`, since consumers may have seen what the restored database has not."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"The feed's epoch is now {new_feed_epoch()}. Every consumer will start over.")
