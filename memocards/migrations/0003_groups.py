"""Three groups: whoever writes content, whoever approves it, and whoever looks after publishing."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

APPS = ("admin", "auth", "memocards", "publish")
GROUPS = {
    "author": (
        "memocards.add_topic", "memocards.change_topic", "memocards.view_topic",
        "memocards.add_question", "memocards.change_question", "memocards.view_question",
        "memocards.add_memocard", "memocards.change_memocard", "memocards.view_memocard",
    ),
    "reviewer": (
        "memocards.view_topic",
        "memocards.change_question", "memocards.view_question", "memocards.delete_question",
        "memocards.approve_question",
        "memocards.change_memocard", "memocards.view_memocard", "memocards.delete_memocard",
        "memocards.approve_memocard",
        "admin.view_logentry",
    ),
    "operator": (
        "publish.view_publishoutbox", "publish.view_publisheditem", "publish.view_feedstate",
        "publish.view_backfillposition", "publish.view_setaside", "publish.change_setaside",
        "publish.add_subscriber", "publish.change_subscriber", "publish.view_subscriber",
        "publish.delete_subscriber",
        # Without it no learner can be chosen for a subscriber.
        "auth.view_user",
    ),
}


def create_groups(apps, schema_editor):
    """A group that somebody made by hand under one of these names keeps what it has, and gains these."""
    using = schema_editor.connection.alias
    for label in APPS:
        # Permissions are otherwise made after all migrations have run, which is too late for a new database.
        app = apps.get_app_config(label)
        app.models_module = True
        create_permissions(app, apps=apps, verbosity=0, using=using)
        app.models_module = None
    group_model = apps.get_model("auth", "Group")
    permission_model = apps.get_model("auth", "Permission")
    for name, permissions in GROUPS.items():
        group, _created = group_model.objects.using(using).get_or_create(name=name)
        for permission in permissions:
            label, codename = permission.split(".")
            group.permissions.add(
                permission_model.objects.using(using).get(content_type__app_label=label, codename=codename)
            )


class Migration(migrations.Migration):
    dependencies = [
        ("memocards", "0002_review_desk"),
        ("publish", "0002_retention_and_set_aside"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    # Going back leaves the groups: somebody may be in them.
    operations = [migrations.RunPython(create_groups, migrations.RunPython.noop)]
