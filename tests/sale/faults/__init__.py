"""Faults planted in the library, each one line changed, that the laws of money must find.

`python -m tests.sale 0 20` says what finds each in histories 0 to 19.
"""

from __future__ import annotations

from tests.sale.faults.accounts import IN_ACCOUNTS
from tests.sale.faults.calls import IN_CALLS
from tests.sale.faults.passing import IN_TIME
from tests.sale.faults.taxes import IN_TAXES

FAULTS = [*IN_TIME, *IN_CALLS, *IN_ACCOUNTS, *IN_TAXES]
