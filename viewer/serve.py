"""`python -m viewer runserver`: the pages, by granian."""

import os
import socket
import sys
from ipaddress import ip_address

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler as WSGIApplication

from kit.parent_death import end_with_server

# SQLite has one writer at a time, and the pages are few: one process with a few threads serves them best.
THREADS = 4
# Without a limit granian waits for every open connection before it stops.
STOP_WITHIN_SECONDS = 2


def serve(*, host: str, port: int, without_password: bool) -> int:
    """Serve until told to stop; beyond this machine only with a password, or expressly without one.

    Returns the exit code.
    """
    if problem := _cannot_listen(host, port) or ("" if without_password else _open_to_others(host)):
        sys.stderr.write(problem + "\n")
        return 1
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"The viewer is at http://{shown}:{port}/ and follows {settings.HUB_URL}\n")
    sys.stdout.flush()
    server = Granian(
        "viewer.serve:application_of_worker",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=THREADS,
        websockets=False,
        workers_kill_timeout=STOP_WITHIN_SECONDS,
        log_level=LogLevels.warning,
    )
    server.serve()
    return 0


def application_of_worker() -> WSGIApplication:
    """What granian's worker process serves, until its main process ends."""
    end_with_server()
    from viewer.wsgi import application

    return application


def _open_to_others(host: str) -> str:
    """Why this address is not served without a password, or nothing."""
    addresses = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    if settings.VIEWER_PASSWORD or all(ip_address(address).is_loopback for address in addresses):
        return ""
    return (
        f"Whoever reaches {host} could study here, and rate for the learner. Set VIEWER_PASSWORD, which every page "
        "then asks for; or add --without-password, where something else keeps others away."
    )


def _cannot_listen(host: str, port: int) -> str:
    """Why this address cannot be served, or nothing.

    granian shares its port with whoever serves it already, so two viewers would answer by turns.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror:
        return f"There is no address {host!r}. --host may be 127.0.0.1, or 0.0.0.0 for every network."
    except PermissionError:
        return f"Port {port} needs more rights than this user has. --port may be any free port above 1023."
    except OSError as error:
        return f"Cannot listen on {host}, port {port}: {error.strerror}. --port chooses another one."
    return ""
