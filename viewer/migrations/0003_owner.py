from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def keep_the_source(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """What was filled before owners were noted belongs to whoever the hub says that its source is."""
    state = apps.get_model("viewer", "SyncState").objects.filter(pk=1).first()
    if state is None or not state.source:
        return
    if state.synced_at or apps.get_model("viewer", "Rating").objects.exists():
        apps.get_model("viewer", "Owner").objects.create(pk=1, sources=[state.source])


class Migration(migrations.Migration):
    dependencies = [("viewer", "0002_lock")]

    operations = [
        migrations.CreateModel(
            name="Owner",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("hub", models.UUIDField(null=True)),
                ("subscriber_id", models.BigIntegerField(null=True)),
                ("learner_id", models.BigIntegerField(null=True)),
                ("hub_url", models.TextField(default="", help_text="Where the hub was when it said so last")),
                ("sources", models.JSONField(default=list)),
            ],
        ),
        migrations.AddConstraint(
            model_name="owner",
            constraint=models.CheckConstraint(condition=models.Q(("id", 1)), name="one_owner"),
        ),
        migrations.RunPython(keep_the_source, migrations.RunPython.noop),
        migrations.RemoveField(model_name="syncstate", name="source"),
        migrations.AddField(model_name="rating", name="hub", field=models.UUIDField(null=True)),
        migrations.AddField(model_name="rating", name="learner_id", field=models.BigIntegerField(null=True)),
        migrations.AddField(model_name="rating", name="offer_again", field=models.BooleanField(default=False)),
        migrations.AlterField(
            model_name="syncstate",
            name="failure",
            field=models.TextField(
                choices=[("", "None"), ("away", "Away"), ("token", "Token"), ("erased", "Erased")], default=""
            ),
        ),
        migrations.AddIndex(
            model_name="rating",
            index=models.Index(
                condition=models.Q(("offer_again", True)), fields=["reviewed_at", "id"], name="rating_offered_again"
            ),
        ),
        migrations.AddIndex(
            model_name="rating",
            index=models.Index(
                condition=models.Q(("state", "accepted")), fields=["accepted_at"], name="rating_accepted"
            ),
        ),
    ]
