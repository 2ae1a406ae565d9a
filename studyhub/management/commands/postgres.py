import argparse
from typing import Any

from django.core.management.base import BaseCommand

from studyhub import postgres_programs
from studyhub.embedded_postgres.client import become

PROGRAMS = (
    *("clusterdb", "createdb", "createuser", "dropdb", "dropuser", "pg_amcheck", "pg_dump", "pg_dumpall"),
    *("pg_isready", "pg_restore", "pgbench", "psql", "reindexdb", "vacuumdb"),
)


class Command(BaseCommand):
    help = (
        "Runs one of PostgreSQL's client programs, which finds the hub's server, role and database in its environment "
        "(PGHOST, PGUSER, PGDATABASE …). The embedded server stays up while it runs. Such as: "
        "manage.py postgres psql -c 'SELECT 1'"
    )
    requires_system_checks = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("program", choices=PROGRAMS)
        parser.add_argument("arguments", nargs=argparse.REMAINDER, help="all that follows is the program's")

    def handle(self, *args: Any, **options: Any) -> None:
        program = postgres_programs.client_program(options["program"], at_least=postgres_programs.server_major())
        become([str(program.path), *options["arguments"]], postgres_programs.environment())
