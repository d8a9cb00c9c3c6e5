"""What a killed process had started ends too; what one that stopped watching had started stays."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

PROGRAM = """
import subprocess, sys, time
from rag.generate.engines.watchdog import Watchdog

watchdog = Watchdog(0.05)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
time.sleep(1.5)
if sys.argv[1] == "close":
    watchdog.close()
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("mode", "how"), [("watch", signal.SIGKILL), ("watch", signal.SIGTERM), ("close", signal.SIGKILL)]
)
def test_descendants_end_with_a_killed_process_that_was_watched(mode, how):
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, mode], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(program.stdout.readline()))
    program.send_signal(how)
    program.wait()
    program.stdout.close()
    try:
        if mode == "watch":
            psutil.wait_procs([child], timeout=30)
            assert not child.is_running()
        else:
            time.sleep(1)
            assert child.is_running()
    finally:
        if child.is_running():
            child.kill()
