import django.contrib.postgres.functions
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("publish", "0003_payload_limit")]

    operations = [
        migrations.AddField(
            model_name="feedstate",
            name="hub",
            field=models.UUIDField(
                db_default=django.contrib.postgres.functions.RandomUUID(), editable=False, verbose_name="hub"
            ),
        ),
    ]
