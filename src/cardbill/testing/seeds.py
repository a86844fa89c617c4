"""What cardbill draws at random, drawn from a seed: the same in every run of a test.

For tests only: whoever knows the seed knows the PINs and the keys.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import count

from cardbill.keyring import Keyring


class SeededNumbers:
    """What PINs are drawn from: ``cardbill.open(..., below=SeededNumbers(7))``.

    Args:
        seed: The same seed draws the same numbers.
        first: Numbers to draw before those of the seed, say to force a PIN or a collision;
            each must be below the bound it is drawn for.

    Attributes:
        waiting: The numbers given that were not drawn yet.
        drawn: All that were drawn.

    >>> below = SeededNumbers(seed=1, first=[42])
    >>> [below(100), below(100)] == [42, SeededNumbers(seed=1)(100)]
    True
    """

    def __init__(self, seed: int = 0, *, first: Iterable[int] = ()) -> None:
        self.waiting = list(first)
        self.drawn: list[int] = []
        self._random = random.Random(seed)

    def __call__(self, bound: int) -> int:
        """Return a number from 0 up to, not including, `bound`."""
        number = self.waiting.pop(0) if self.waiting else self._random.randrange(bound)
        self.drawn.append(number)
        return number


class CallIds:
    """Call ids, each once: what a host's UUIDs are in production.

    Args:
        seed: The same seed gives the same ids in the same order; ids of two seeds differ.

    >>> new_call = CallIds(seed=3)
    >>> new_call(), new_call()
    ('call-3-1', 'call-3-2')
    """

    def __init__(self, seed: int = 0) -> None:
        self._ids = (f"call-{seed}-{number}" for number in count(1))

    def __call__(self) -> str:
        """Return the next one."""
        return next(self._ids)


def seeded_keyring(seed: int = 0) -> Keyring:
    """Return a keyring whose keys, and so tokens and seals, are the same for the same seed.

    Sealed copies of PINs are not: each is encrypted under a nonce of its own.

    >>> seeded_keyring(1).token("123456789012") == seeded_keyring(1).token("123456789012")
    True
    """
    return Keyring.generate(entropy=random.Random(seed).randbytes)
