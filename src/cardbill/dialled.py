"""Dialled strings: who is calling and whom he wants, in one go.

``access*PIN*number``, the access number perhaps stripped by the switch, perhaps a ``#`` at
the end; or PIN digits followed at once by the number. Whatever is dialled has an answer:
nothing here raises an error, and nothing shows the digits. Source: domain.md section 4.
"""

from __future__ import annotations

from attrs import field, frozen

from cardbill.access import AccessNumber, Asks, plain_access


@frozen(kw_only=True)
class Dialled:
    """What a dialled string says.

    Attributes:
        pin: The PIN; ``None``: the access number asks for none.
        card_number: The printed card number; ``None``: not asked for.
        to: The number as dialled; empty: none was.
    """

    pin: str | None = field(default=None, repr=False)
    card_number: str | None = field(default=None, repr=False)
    to: str = field(repr=False)


def join(access: AccessNumber, *parts: str) -> str:
    """Return the string a caller dials: :func:`parse` takes it apart again.

    Args:
        access: The access number.
        parts: What it asks for, then the number to call. None may hold ``*`` or end in ``#``.
    """
    return "*".join((access.number, *parts))


def parse(access: AccessNumber, dialled: str) -> Dialled | None:
    """Take a dialled string apart; ``None``: it does not say who is calling.

    A string that begins with the access number and ``*``, or with ``*``, is read without
    it, so a PIN that equals the access number needs the access number before it.
    """
    parts = dialled.removesuffix("#").split("*")
    if len(parts) > 1 and (not parts[0] or plain_access(parts[0]) == access.number):
        del parts[0]
    wanted = _PARTS[access.credential]
    if len(parts) == 1 and access.pin_length is not None:
        pin, to = parts[0][: access.pin_length], parts[0][access.pin_length :]
        return Dialled(pin=pin, to=to) if len(pin) == access.pin_length else None
    if len(parts) == wanted - 1 and all(parts) and wanted > 1:
        parts.append("")  # all of the credential and no number
    if len(parts) != wanted:
        return None
    *credential, to = parts
    match credential:
        case [card_number, pin]:
            return Dialled(card_number=card_number, pin=pin, to=to)
        case [pin]:
            return Dialled(pin=pin, to=to)
    return Dialled(to=to)


_PARTS = {Asks.PIN: 2, Asks.NUMBER_AND_PIN: 3, Asks.ANI: 1}
