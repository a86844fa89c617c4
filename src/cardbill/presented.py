"""What a caller presents: the ways in, each turned into tokens that stores can look up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from cardbill.access import AccessNumber, Asks, Stage
from cardbill.answers import Credential
from cardbill.callerid import registrable
from cardbill.cardnumbers import joined, keyed_number
from cardbill.dialled import parse
from cardbill.errors import InvalidInput
from cardbill.keyring import ANI, NUMBER_PIN, PIN, Secret
from cardbill.pins import check_pin

if TYPE_CHECKING:
    from cardbill.dialing import DialPlan
    from cardbill.keyring import Keyring


@frozen(kw_only=True)
class Presented:
    """What a caller says who he is by, and in one stage whom he wants.

    Attributes:
        pin, card_number: As keyed.
        ani: The caller's number as the network tells it.
        dialled: All in one string.
        to: The number to call as dialled.
        access: The access number the call came in on, if the host says.
    """

    pin: str | None = field(default=None, repr=False)
    card_number: str | None = field(default=None, repr=False)
    ani: str | None = None
    dialled: str | None = field(default=None, repr=False)
    to: str | None = field(default=None, repr=False)
    access: AccessNumber | None = None

    def apart(self) -> Presented | None:
        """Return the same with the dialled string taken apart; ``None``: it says nobody.

        Raises:
            InvalidInput: There is no access number to read it by, or it takes no such
                strings, or something is said twice.
        """
        if self.dialled is None:
            return self
        if not isinstance(self.dialled, str):
            raise InvalidInput("dialled", None, "must be text")
        if self.pin is not None or self.card_number is not None:
            raise InvalidInput("dialled", None, "holds the credential: give no other")
        if self.access is None:
            raise InvalidInput("access", None, "is needed to read a dialled string")
        if self.access.stage is not Stage.ONE:
            problem = f"access number {self.access.number} takes calls in two stages"
            raise InvalidInput("dialled", None, problem)
        told = parse(self.access, self.dialled)
        if told is None:
            return None
        return evolve(self, dialled=None, pin=told.pin, card_number=told.card_number, to=told.to)

    def credentials(self, keyring: Keyring, plan: DialPlan) -> Sequence[Credential]:
        """Return the credentials that might open a card; none for what can be no credential.

        Whatever a caller keys is an answer, not an error.

        Raises:
            InvalidInput: The host presents nothing, or a card number without a PIN.
        """
        secret = self.secret(plan)
        if secret is None:
            return []
        return [(secret.kind, token) for token in keyring.tokens(secret.text, secret.kind)]

    def secret(self, plan: DialPlan) -> Secret | None:
        """Return what tokens are made of; ``None``: what is presented can be no credential.

        Raises:
            InvalidInput: The host presents nothing, or a card number without a PIN.
        """
        if self.pin is None:
            return self._pinless(plan)
        if not isinstance(self.pin, str):
            raise InvalidInput("pin", None, "must be text")
        number = None if self.card_number is None else keyed_number(self.card_number)
        try:
            pin = check_pin(self.pin)
        except InvalidInput:
            return None
        if self.card_number is None:
            return Secret(PIN, pin, pin)
        return None if number is None else Secret(NUMBER_PIN, joined(number, pin), pin)

    def _pinless(self, plan: DialPlan) -> Secret | None:
        if self.card_number is not None:
            raise InvalidInput("pin", None, "is needed with a card number")
        pinless = self.access is not None and self.access.credential is Asks.ANI
        if self.ani is None and not pinless:
            raise InvalidInput("pin", None, "must be text; or tell the caller's number")
        number = registrable(self.ani, plan)
        return None if number is None else Secret(ANI, number, number)
