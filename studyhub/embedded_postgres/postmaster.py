"""Start, recognise and stop the server process."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .layout import PORT, SOCKET_NAME
from .programs import Programs

# Chosen for a small machine that also runs the apps. The caller's parameters win over these.
DEFAULTS = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
    "jit": "off",
    # Whoever leaves a transaction open, in psql for example, must not hold up publishing for ever.
    "idle_in_transaction_session_timeout": "60s",
    "io_method": "sync",
    # A container's /dev/shm has 64 MB, and what a kill -9 leaves there nobody removes.
    "dynamic_shared_memory_type": "mmap",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
}
FAST_SHUTDOWN = signal.SIGINT
IMMEDIATE_SHUTDOWN = signal.SIGQUIT
SHUTDOWN_SECONDS = 30.0


class PidFile(NamedTuple):
    pid: int
    ready: bool


def read_pid_file(data: Path) -> PidFile | None:
    """What postmaster.pid says. It may be a dead server's."""
    try:
        lines = (data / "postmaster.pid").read_bytes().split(b"\n")
        return PidFile(int(lines[0]), len(lines) > 7 and lines[7].strip() == b"ready")
    except (FileNotFoundError, ValueError):
        return None


def start(
    programs: Programs, data: Path, socket_directory: str, parameters: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    quoted = socket_directory.replace('"', '""')
    settings = {
        **DEFAULTS,
        **parameters,
        "listen_addresses": "",
        "unix_socket_directories": f'"{quoted}"',
        "unix_socket_permissions": "0700",
        "port": str(PORT),
    }
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    return programs.start("postgres", "-D", str(data), *options)


def stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(FAST_SHUTDOWN)
    try:
        server.wait(SHUTDOWN_SECONDS)
    except subprocess.TimeoutExpired:
        server.send_signal(IMMEDIATE_SHUTDOWN)
        server.wait()


def end_predecessor(data: Path, socket_directory: str) -> None:
    """End the server that a killed keeper left, and remove the files by which a dead one seems to live.

    PostgreSQL would believe in their pid if that is now another process, or a zombie that nobody waits for.
    The keeper's lock and the shared memory, which PostgreSQL checks as well, say more.
    """
    file = read_pid_file(data)
    begin = time.monotonic()
    while file and _serves(file.pid, data):
        waited = time.monotonic() - begin
        os.kill(file.pid, FAST_SHUTDOWN if waited < SHUTDOWN_SECONDS else IMMEDIATE_SHUTDOWN)
        time.sleep(0.05)
    (data / "postmaster.pid").unlink(missing_ok=True)
    (Path(socket_directory) / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)


def _serves(pid: int, data: Path) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(data) in arguments and arguments[0].endswith(b"/postgres")
