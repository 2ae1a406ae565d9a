from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from memocards.content.sample import create_demo_users, load_topic, topic_files


class Command(BaseCommand):
    help = (
        "Loads topics, questions with explanations and cards of real facts, and creates the demo users admin, author, "
        "reviewer and learner. Their random passwords are printed, and kept in DATA_DIR/demo-logins. What is there "
        "already is left alone."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        for sample in topic_files():
            loaded = load_topic(sample)
            if loaded is None:
                self.stdout.write(f"{sample['name']}: is there already.")
            else:
                self.stdout.write(f"{sample['name']}: {loaded[0]} questions, {loaded[1]} cards.")
        logins = settings.DATA_DIR / "demo-logins"
        created = create_demo_users(logins)
        if created:
            self.stdout.write(f"Demo users, kept in {logins}:")
        for line in created:
            self.stdout.write(f"  {line}")
