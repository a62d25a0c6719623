"""The job whose log is followed: once somebody reads, it writes the time, line by line.

    stamps.py GO LINES      GO: a file that appears when the reader has seen "ready"

The pauses vary, so that they fall in step with nobody's polling; their seed is fixed.
"""

import os
import random
import sys
import time

go, lines = sys.argv[1], int(sys.argv[2])
pause = random.Random(1)
print("ready", flush=True)
deadline = time.monotonic() + 60
while not os.path.exists(go):
    if time.monotonic() > deadline:
        sys.exit("nobody reads")
    time.sleep(0.01)
for _ in range(lines):
    time.sleep(pause.uniform(0.01, 0.06))
    print(f"stamp={time.monotonic_ns()}", flush=True)
