"""A review that was clamped says so itself. Until now it was told by its time of receipt, set to be the same."""

from django.db import migrations, models

MARK = """
    UPDATE memocards_review SET clamped = true WHERE claimed_at IS NOT NULL AND reviewed_at = received_at
"""


class Migration(migrations.Migration):
    dependencies = [("memocards", "0007_questions_unapproved_at")]

    operations = [
        migrations.AddField(
            model_name="review",
            name="clamped",
            field=models.BooleanField(db_default=False, default=False, editable=False, verbose_name="clamped"),
        ),
        migrations.RunSQL(MARK, migrations.RunSQL.noop),
    ]
