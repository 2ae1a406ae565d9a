import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import os, signal, time
from kit.stopping import Stopped, StopRequest

class Leaving:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

stop = StopRequest().install()
try:
    with stop.while_waiting():
        {wait}
except Stopped:
    print("Stopped.", flush=True)
    # What comes last is not disturbed.
    time.sleep(1.2)
    print("Cleaned up.")
"""


@pytest.mark.parametrize("wait", ["print('Waits.', flush=True); time.sleep(60)", "Leaving(); time.sleep(60)"])
def test_a_wait_ends_wherever_the_signal_finds_the_program(wait: str) -> None:
    program = subprocess.Popen([sys.executable, "-c", PROGRAM.format(wait=wait)], stdout=subprocess.PIPE, text=True)
    with program:
        assert program.stdout is not None
        if "Waits" in wait:
            assert program.stdout.readline() == "Waits.\n"
            program.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert program.stdout.read() == "Stopped.\nCleaned up.\n"
    assert program.returncode == 0
    assert time.monotonic() - began < 10
