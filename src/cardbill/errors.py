"""Every error cardbill raises, in one tree.

::

    CardbillError
    ├── InvalidInput (ValueError)     a value that cannot be used: names field and value
    │   ├── FloatRefused (TypeError)  money and durations are never floats
    │   ├── InexactAmount             finer than a ledger unit, or than the currency's coin
    │   ├── WrongCurrency             two currencies where one was needed
    │   ├── MissingFields             required fields left out, all of them named
    │   ├── InvalidNumber             a telephone number that cannot be dialled
    │   ├── InvalidHandle             not a call handle of this library
    │   ├── DeckRefused               rows of a rate deck, each by line, column and code
    │   └── UploadRefused             rows of a file of PINs, likewise
    ├── UnknownName (LookupError)     no batch, plan, deck, carrier or card of that name
    ├── DuplicateName                 the name is taken
    ├── TermsLocked                   what has been sold or used keeps its terms
    ├── TransitionRefused             a card of that status cannot become what was asked
    ├── PlanRefused                   this plan cannot be given to that batch
    ├── GuessTooLikely                too many live PINs for their length
    ├── OperationError                the request does not fit what was done before
    │   ├── CallEnded                 the call was settled, cancelled or has expired
    │   ├── IdempotencyMismatch       same operation key, other request
    │   └── UnknownCall (LookupError) no such call; what was reported is in suspense
    ├── TaxUnavailable                the tax engine outside does not answer, and that refuses
    ├── ExtraMissing (ImportError)    an optional package that is not installed
    ├── KeyringError                  no usable key
    │   ├── KeyFileExposed            others may read the key file
    │   ├── KeyMissing                this keyring lacks the key the work needs
    │   └── WrongKey                  not the key this database was written with
    └── StorageError                  the store, not the request
        ├── StorageUnavailable        try again; ``outcome_unknown`` says what is certain
        ├── StorageClosed             used after ``close()``
        ├── SchemaTooNew              written by a newer cardbill
        ├── RowUnreadable             altered or damaged
        │   └── RowAltered            its seal does not fit: written by somebody without the keys
        ├── CardTooLarge              a card's state has outgrown 64 KiB
        ├── DuplicateCredential       a PIN (or other credential) is already in use
        ├── VersionConflict           the name was published by somebody else meanwhile
        └── ConstraintViolated        a change that must never happen was refused

A refused *call* is no error: ``authenticate`` and ``authorize`` answer with a
:class:`~cardbill.Denied`. No message, attribute or repr here ever holds a PIN.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any


class CardbillError(Exception):
    """The root of every error this library raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders whole, whatever their constructors take.
        return _again, (type(self), self.args, self.__dict__)


class InvalidInput(CardbillError, ValueError):
    """A value that cannot be used.

    Attributes:
        field: The argument, field or column it was given for.
        value: The value as given; ``None`` where showing it could show a secret.
    """

    def __init__(self, field: str, value: object, problem: str) -> None:
        self.field = field
        self.value = value
        self.problem = problem
        shown = "" if value is None else f" (got {_shown(value)})"
        super().__init__(f"{field}: {problem}{shown}")


class FloatRefused(InvalidInput, TypeError):
    """A float where an exact number is needed; pass ``Decimal``, ``int`` or a string."""


class InexactAmount(InvalidInput):
    """An amount that cannot be written in whole units."""


class WrongCurrency(InvalidInput):
    """An amount, deck or plan in another currency than the one it is used with."""


class MissingFields(InvalidInput):
    """Required fields that were left out.

    Attributes:
        fields: The name of every one of them.
    """

    def __init__(self, what: str, fields: Sequence[str]) -> None:
        self.fields = tuple(fields)
        super().__init__(what, None, "required and missing: " + ", ".join(fields))


class InvalidNumber(InvalidInput):
    """A telephone number that cannot be dialled.

    The digits are never repeated here: a caller may have typed a PIN in the wrong place.
    """


class InvalidHandle(InvalidInput):
    """A text that is not a call handle; it is never repeated, it may be anything."""


class RowProblem:
    """One row of an uploaded file that cannot be used.

    Attributes:
        line: The line of the file the row begins on, the first line being 1.
        column: The column, by the header as written; empty for the row as a whole.
        code: A stable word: ``missing``, ``not-a-number``, ``inexact``, ``duplicate``, ...
        message: The same for people.
    """

    __slots__ = ("code", "column", "line", "message")

    def __init__(self, line: int, column: str, code: str, message: str) -> None:
        self.line = line
        self.column = column
        self.code = code
        self.message = message

    def __repr__(self) -> str:
        return f"<line {self.line}, {self.column or 'row'}: {self.code}: {self.message}>"

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", {self.column}" if self.column else "")
        return f"{where}: {self.message} [{self.code}]"


class DeckRefused(InvalidInput):
    """A rate deck with rows that cannot be used; nothing of it was published.

    Attributes:
        problems: Every such row.
    """

    def __init__(self, what: str, problems: Iterable[RowProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__(what, None, _listed(self.problems, len(self.problems)))


class UploadRefused(InvalidInput):
    """A file of PINs with rows that cannot be used; nothing of it was stored.

    Attributes:
        problems: The first 1,000 of these rows.
        refused: How many there are.
    """

    def __init__(self, what: str, problems: Iterable[RowProblem], refused: int) -> None:
        self.problems = tuple(problems)
        self.refused = refused
        super().__init__(what, None, _listed(self.problems, refused))


class UnknownName(CardbillError, LookupError):
    """Nothing of that kind has that name.

    Attributes:
        kind: ``batch``, ``plan``, ``deck``, ``carrier`` or ``card``.
        name: The name; empty where what was given is no name at all: it may be a PIN.
    """

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name if kind != "card" or "/" in name else ""
        named = f"is named {self.name!r}" if self.name else "has such a name"
        if kind == "card" and not self.name:
            named += ": a card's is that of its batch and its serial, like SUMMER-5/123"
        super().__init__(f"no {kind} {named}")


class DuplicateName(CardbillError):
    """The name is taken; names are never used twice."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        super().__init__(f"a {kind} named {name!r} exists already")


class TermsLocked(CardbillError):
    """Terms that cards already rely on cannot be changed."""


class TransitionRefused(CardbillError):
    """What is asked for cannot be done to a card of that status.

    Attributes:
        card_id: Which card.
        status: What it is.
        event: What was asked.
    """

    def __init__(self, card_id: str, status: str, event: str, why: str = "") -> None:
        self.card_id = card_id
        self.status = status
        self.event = event
        told = f"card {card_id} is {status}: {event.replace('_', ' ')} is not possible"
        super().__init__(f"{told}{why and ', '}{why}")


class PlanRefused(CardbillError):
    """A plan that cannot be given to that batch; the message says why."""


class GuessTooLikely(CardbillError):
    """So many live PINs of that length that guessing one is too easy."""


class OperationError(CardbillError):
    """A request that does not fit what was done before under the same key."""


class CallEnded(OperationError):
    """The call has ended; a call id is good for one call.

    Attributes:
        outcome: How it ended: ``settled``, ``cancelled``, ``expired`` or ``unauthorised``.
    """

    def __init__(self, call_id: str, outcome: str) -> None:
        self.call_id = call_id
        self.outcome = outcome
        super().__init__(f"call {call_id!r} has ended: {outcome}")


class IdempotencyMismatch(OperationError):
    """The operation was done before under this key with another request.

    What was done stays; another request needs another key.

    Attributes:
        key: The operation's key; a call's is its id.
        fields: Which parts of the request differ.
    """

    def __init__(self, key: str, fields: Sequence[str], done: Sequence[object] = ()) -> None:
        self.key = key
        self.fields = tuple(fields)
        told = [
            name if was in ("", None) else f"{name} ({was})"
            for name, was in zip_longest(fields, done)
        ]
        super().__init__(f"{key!r} was done before with another {', '.join(told)}")


class UnknownCall(OperationError, LookupError):
    """A call of no card in this store.

    Attributes:
        suspended: True when what was reported has been parked in suspense, so that it is
            not lost and a person can look into it.
    """

    def __init__(self, call_id: str, *, suspended: bool) -> None:
        self.call_id = call_id
        self.suspended = suspended
        parked = "; what was reported is parked in suspense" if suspended else ""
        super().__init__(f"call {call_id!r} belongs to no card here{parked}")


class TaxUnavailable(CardbillError):
    """The tax engine outside had no usable answer, and then the event is to be refused.

    Nothing was done: try again under the same key.

    Attributes:
        event: The key of the event.
        problem: Why there is no answer.
    """

    def __init__(self, event: str, problem: str) -> None:
        self.event = event
        self.problem = problem
        super().__init__(f"{event} cannot be taxed: {problem}; nothing was done")


class ExtraMissing(CardbillError, ImportError):
    """An optional package is needed and not installed.

    Attributes:
        extra: The extra of cardbill that brings it.
    """

    def __init__(self, extra: str, package: str) -> None:
        self.extra = extra
        super().__init__(f"the package {package} is not installed: pip install 'cardbill[{extra}]'")


class KeyringError(CardbillError):
    """No usable key. Never shows one."""


class KeyFileExposed(KeyringError, PermissionError):
    """Users other than the owner may read the key file; make its mode 0600."""


class KeyMissing(KeyringError, LookupError):
    """The keyring lacks the key that this work needs."""


class WrongKey(KeyringError):
    """The keyring is not the one that this database was written with."""


class StorageError(CardbillError):
    """The store could not do its work."""


class StorageUnavailable(StorageError):
    """The store cannot be reached, or was busy for too long.

    Running the same step again is always safe: it recognises what it already did.

    Attributes:
        outcome_unknown: False: nothing was done. True: it may have been done or not.
    """

    def __init__(self, problem: str, *, outcome_unknown: bool = False) -> None:
        self.outcome_unknown = outcome_unknown
        certain = "whether it was done is not known" if outcome_unknown else "nothing was done"
        super().__init__(f"{problem}; {certain}")


class StorageClosed(StorageError):
    """The store was closed."""


class SchemaTooNew(StorageError):
    """The database, or a row in it, was written by a newer version of cardbill."""


class RowUnreadable(StorageError):
    """A stored row does not hold what cardbill writes; it was altered or damaged."""


class RowAltered(RowUnreadable):
    """A stored row does not fit its seal; it was altered, or moved from elsewhere."""


class CardTooLarge(StorageError):
    """A card's state would pass 64 KiB; the step was refused, and the card is as it was.

    Calls, transfers and callers' numbers are refused some KiB before: money that comes back,
    refunds, recharges, blocking, expiry and the end of open calls find room beside them.
    """


class DuplicateCredential(StorageError):
    """A credential is in use already. Which one is not said."""


class VersionConflict(StorageError):
    """A catalogue name moved to another version since it was read."""


class ConstraintViolated(StorageError):
    """The store refused a change that would break a rule of the ledger."""


def _again(kind: type[CardbillError], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _listed(problems: Sequence[RowProblem], count: int) -> str:
    first = "; ".join(str(problem) for problem in problems[:3])
    more = f"; and {count - 3:,} more" if count > 3 else ""
    return f"{count:,} unusable rows: {first}{more}"


def _shown(value: object, limit: int = 80) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no int of more than 4300 digits
        text = f"{type(value).__name__} of too many digits"
    return text if len(text) <= limit else text[: limit - 1] + "…"
