"""Whoever looks after publishing may see when a relay last worked."""

from django.contrib.auth.management import create_permissions
from django.db import migrations


def grant(apps, schema_editor):
    """An operators' group that somebody renamed or deleted is left alone."""
    using = schema_editor.connection.alias
    app = apps.get_app_config("publish")
    app.models_module = True
    create_permissions(app, apps=apps, verbosity=0, using=using)
    app.models_module = None
    permission = apps.get_model("auth", "Permission").objects.using(using).get(
        content_type__app_label="publish", codename="view_relayheartbeat"
    )
    for group in apps.get_model("auth", "Group").objects.using(using).filter(name="operator"):
        group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [("memocards", "0005_explanation_job"), ("publish", "0005_relay_heartbeat")]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
