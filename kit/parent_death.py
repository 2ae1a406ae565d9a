"""A process that ends with its parent, which cannot see to that when it is killed by force itself.

Without it a server's worker goes on serving, and keeps the port. Linux only; elsewhere nothing happens.
"""

import ctypes
import multiprocessing
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

# Looked up at import: between fork and exec, where `end_with` may be called, a library should not be loaded.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Let the kernel send `number` to this process when its parent ends.

    For the kernel the parent is the thread that started this process. What is arranged here holds beyond exec, but not
    beyond a change of user.
    """
    if _libc is None:
        return
    _libc.prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        # It ended before the kernel was told.
        os.kill(os.getpid(), signal.SIGKILL)


def end_with_server() -> None:
    """In a worker process of a server: end with the server's main process. In any other process this does nothing."""
    main = multiprocessing.parent_process()
    if main is not None and main.pid is not None:
        end_with(main.pid)
