"""`python -m viewer`: follow the hub's feed, and serve the pages."""

import argparse
import os
import sys

from kit.standard_output import end_with_reader

ENVIRONMENT = """\
environment, all optional:
  HUB_URL              the hub's address (http://127.0.0.1:8000)
  HUB_TOKEN            a token from `manage.py create_subscriber NAME --learner USERNAME` on the hub
  VIEWER_PASSWORD      ask for this password before every page
  DATA_DIR             where the database and the key of the sessions are kept (var)
  VIEWER_DATABASE_URL  another database: sqlite:////path or postgres://user:password@host:port/name
  ALLOWED_HOSTS        names and addresses the pages are reached by, with commas (localhost,127.0.0.1,[::1])
  TRUSTED_PROXIES      proxies whose X-Forwarded-For is believed, with commas: addresses or networks (none)
  HTTPS                true behind a proxy that speaks HTTPS and sets X-Forwarded-Proto (false)
  DEBUG                true shows tracebacks in the browser (false)
"""


def port_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a whole number from 1 to 65535")
    return int(text)


def parser() -> argparse.ArgumentParser:
    main_parser = argparse.ArgumentParser(
        prog="python -m viewer",
        description="A StudyHub viewer: it follows a hub's feed and shows cards and questions to one "
        "learner. Run `sync` and `runserver` at the same time, with the same environment.",
        epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="command")
    sync = commands.add_parser("sync", help="follow the hub's feed and send the ratings made here")
    sync.add_argument("--once", action="store_true", help="stop at the feed's head; exit code 1 if it is not reached")
    sync.add_argument(
        "--adopt",
        action="store_true",
        help="give a database that is another token's to this HUB_TOKEN, and begin anew; lists the former owner's "
        "ratings that have not reached the hub, and asks",
    )
    sync.add_argument("--yes", action="store_true", help="with --adopt: do not ask")
    runserver = commands.add_parser("runserver", help="serve the pages")
    runserver.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    runserver.add_argument(
        "--without-password",
        action="store_true",
        help="listen beyond this machine though no VIEWER_PASSWORD is set: whoever reaches the port may study",
    )
    runserver.add_argument("--port", type=port_number, default=8001, help="port to listen on (%(default)s)")
    commands.add_parser("repair", help="put a new database in place of a damaged one, and keep the ratings made here")
    return main_parser


def main(arguments: list[str] | None = None) -> int:
    main_parser = parser()
    options = main_parser.parse_args(arguments)
    if options.command == "sync" and options.yes and not options.adopt:
        main_parser.error("--yes belongs to --adopt")
    # Set, not defaulted: the hub's settings may be named in the same environment.
    os.environ["DJANGO_SETTINGS_MODULE"] = "viewer.settings"
    # What the viewer writes is the learner's, and nobody else's on this machine.
    os.umask(0o077)
    import django
    from django.core.exceptions import ImproperlyConfigured
    from django.db import DatabaseError

    from viewer.prepare import ViewerRuns, use_database
    from viewer.storage import Damaged, trouble_of

    try:
        django.setup()
        if options.command == "repair":
            from viewer.repair import repair

            return repair()
        use_database()
    except DatabaseError as error:
        trouble = trouble_of(error)
        sys.stderr.write(f"{trouble.sentence if trouble else error}\n")
        return 1
    except (ImproperlyConfigured, Damaged, ViewerRuns, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.command == "sync":
        from viewer.follow import follow

        return follow(once=options.once, adopts=options.adopt, yes=options.yes)
    from viewer.serve import serve

    return serve(host=options.host, port=options.port, without_password=options.without_password)


if __name__ == "__main__":
    with end_with_reader():
        sys.exit(main())
