from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("viewer", "0003_owner")]

    operations = [
        migrations.AddField(
            model_name="syncstate",
            name="published_at",
            field=models.DateTimeField(
                help_text="When the hub last published, or had nothing to publish", null=True
            ),
        ),
    ]
