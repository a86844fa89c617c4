"""Lines between processes that a test starts, kills and cuts off."""

from __future__ import annotations

import pickle
from multiprocessing.connection import Connection
from typing import Any


def send(line: Connection, what: Any) -> None:
    """Send it down a line that may be broken.

    When `Connection.send` fails, the traceback keeps a view into a `BytesIO`. As part of a cycle
    of garbage they are freed in any order, and Python 3.12 and 3.13 warn of it or crash.
    """
    line.send_bytes(pickle.dumps(what))
