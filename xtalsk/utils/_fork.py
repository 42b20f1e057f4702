"""Torch in forked processes.

The threads of torch do not survive a fork. If torch computed with several threads before the fork, the forked
process waits for them without end. With one thread it needs no others. Processes that are spawned, and those
of joblib's default backend loky, start without threads and keep their settings.
"""

import os
import sys


def _use_one_thread():
    """Let torch compute with one thread, if it is loaded and uses several."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_use_one_thread)
