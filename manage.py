#!/usr/bin/env python3
"""The hub's command line: `python manage.py help` lists the commands."""

import os
import sys

from kit.standard_output import end_with_reader

# PostgreSQL's code for a table that is not there.
UNDEFINED_TABLE = "42P01"


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studyhub.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import ProgrammingError

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    except ProgrammingError as error:
        if getattr(error.__cause__, "sqlstate", "") != UNDEFINED_TABLE:
            raise
        sys.exit(
            "The tables of StudyHub are not in this database. `make run` and `manage.py migrate` make them. If they "
            "are elsewhere, set DATA_DIR or DATABASE_URL as they were set for the hub."
        )


if __name__ == "__main__":
    with end_with_reader():
        main()
