"""cardbill: an embeddable prepaid calling-card business.

PIN batches become cards, a caller's PIN becomes an account at first use, and calls are
authorized, routed, rated, costed and settled in this process, over a store of your choice.
Begin with :func:`open`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without the time it takes to import typing
if TYPE_CHECKING:
    from typing import Any

    __version__: str
    from cardbill import errors
    from cardbill.access import AccessKind, AccessNumber, Asks, Stage
    from cardbill.answers import Caller, Denied, Grant, TalkTime
    from cardbill.audit import AuditReport
    from cardbill.bands import Band, BandRating
    from cardbill.batches import Batch, FirstUse, Validity
    from cardbill.buckets import PackageAmount
    from cardbill.calls import CallRecord, Outcome
    from cardbill.carriers import Carrier
    from cardbill.charges import Charge, Short, Trigger
    from cardbill.cycles import BillingCycle, CycleUnit
    from cardbill.deckdiff import DeckChange, DeckChanges, compare_decks
    from cardbill.deckfiles import read_deck
    from cardbill.decks import Deck, DeckRow, Match
    from cardbill.deckwriting import write_deck
    from cardbill.denialcounts import DenialCount
    from cardbill.denials import Denial
    from cardbill.dialects import (
        CITY_CODE_NOTICE,
        CODE_LIST_NOTICE,
        NEW_RATE_NOTICE,
        Dialect,
        RateChange,
    )
    from cardbill.dialing import NORTH_AMERICA, DialPlan
    from cardbill.dialplans import dial_plan
    from cardbill.disclosing import CallsOf, Disclosure, disclose
    from cardbill.engine import Engine, Swept
    from cardbill.errors import CardbillError
    from cardbill.exchange import ExchangeRate, ExchangeRates
    from cardbill.explaining import Explanation, Line, LineKind, explain
    from cardbill.exporting import IssuedPin
    from cardbill.flags import BatchFlags
    from cardbill.groups import DestinationGroup
    from cardbill.holds import LimitedBy
    from cardbill.increments import BlockRounding, Step
    from cardbill.inquiry import CardView
    from cardbill.intake import Generated
    from cardbill.jurisdictions import Exemption, Jurisdiction, Tax, TaxLevel, TaxOn
    from cardbill.keyring import Keyring
    from cardbill.ledger import Entry, EntryKind
    from cardbill.money import RoundingMode, format_money
    from cardbill.numberplaces import NumberType, format_number, number_type, place_of
    from cardbill.numberplans import NumberCheck
    from cardbill.opening import open, open_storage  # noqa: A004  # read as cardbill.open
    from cardbill.operations import Operation, OperationKind
    from cardbill.packages import Given, Package, Unit
    from cardbill.plans import Plan, Rebind, Unauthorised, Unreported
    from cardbill.quoting import CallExplanation, Offer, PassedOver
    from cardbill.rating import Beyond, Rate, Rounding, max_duration, price, rate
    from cardbill.recounting import RecordExplanation
    from cardbill.registration import NotRegistered, RegisteredNumber, Registration
    from cardbill.reports.hung import HungCall
    from cardbill.reports.log import LogLine, ParkedReport
    from cardbill.reports.margins import Margin, MarginBy
    from cardbill.reports.taxes import TaxPeriod, TaxTotal
    from cardbill.reports.utilisation import Utilisation
    from cardbill.rerating import Comparison, DestinationComparison
    from cardbill.retention import Purged
    from cardbill.routing import Refused, Route, RouteOrder, Routing
    from cardbill.statements import Statement, StatementLine
    from cardbill.status import Status
    from cardbill.taxengines import TaxAnswer, TaxDecision, TaxEngine, TaxFallback, TaxRequest
    from cardbill.taxes import PriceLine, Taxed, TaxLine
    from cardbill.taxregions import TaxFollows, TaxRegions
    from cardbill.throttling import GuessLimit, GuessPool, Throttle
    from cardbill.usagelimits import UsageLimit

# Where each public name lives; a module is imported when a name of it is first used.
_HOMES = {
    "access": ("AccessKind", "AccessNumber", "Asks", "Stage"),
    "audit": ("AuditReport",),
    "answers": ("Caller", "Denied", "Grant", "TalkTime"),
    "bands": ("Band", "BandRating"),
    "batches": ("Batch", "FirstUse", "Validity"),
    "buckets": ("PackageAmount",),
    "calls": ("CallRecord", "Outcome"),
    "ledger": ("Entry", "EntryKind"),
    "charges": ("Charge", "Short", "Trigger"),
    "cycles": ("BillingCycle", "CycleUnit"),
    "carriers": ("Carrier",),
    "deckdiff": ("DeckChange", "DeckChanges", "compare_decks"),
    "deckfiles": ("read_deck",),
    "decks": ("Deck", "DeckRow", "Match"),
    "deckwriting": ("write_deck",),
    "denials": ("Denial",),
    "denialcounts": ("DenialCount",),
    "dialects": (
        "CITY_CODE_NOTICE",
        "CODE_LIST_NOTICE",
        "NEW_RATE_NOTICE",
        "RateChange",
        "Dialect",
    ),
    "dialing": ("NORTH_AMERICA", "DialPlan"),
    "dialplans": ("dial_plan",),
    "disclosing": ("CallsOf", "Disclosure", "disclose"),
    "engine": ("Engine", "Swept"),
    "errors": ("CardbillError",),
    "explaining": ("Explanation", "Line", "LineKind", "explain"),
    "flags": ("BatchFlags",),
    "groups": ("DestinationGroup",),
    "holds": ("LimitedBy",),
    "increments": ("BlockRounding", "Step"),
    "inquiry": ("CardView",),
    "exchange": ("ExchangeRate", "ExchangeRates"),
    "exporting": ("IssuedPin",),
    "intake": ("Generated",),
    "jurisdictions": ("Exemption", "Jurisdiction", "Tax", "TaxLevel", "TaxOn"),
    "keyring": ("Keyring",),
    "money": ("RoundingMode", "format_money"),
    "numberplaces": ("NumberType", "format_number", "number_type", "place_of"),
    "numberplans": ("NumberCheck",),
    "opening": ("open", "open_storage"),
    "operations": ("Operation", "OperationKind"),
    "packages": ("Given", "Package", "Unit"),
    "plans": ("Plan", "Rebind", "Unauthorised", "Unreported"),
    "quoting": ("CallExplanation", "Offer", "PassedOver"),
    "rating": ("Beyond", "Rate", "Rounding", "max_duration", "price", "rate"),
    "recounting": ("RecordExplanation",),
    "registration": ("NotRegistered", "RegisteredNumber", "Registration"),
    "reports.hung": ("HungCall",),
    "reports.log": ("LogLine", "ParkedReport"),
    "reports.margins": ("Margin", "MarginBy"),
    "reports.taxes": ("TaxPeriod", "TaxTotal"),
    "reports.utilisation": ("Utilisation",),
    "rerating": ("Comparison", "DestinationComparison"),
    "retention": ("Purged",),
    "routing": ("Refused", "Route", "RouteOrder", "Routing"),
    "statements": ("Statement", "StatementLine"),
    "status": ("Status",),
    "taxengines": ("TaxAnswer", "TaxDecision", "TaxEngine", "TaxFallback", "TaxRequest"),
    "taxes": ("PriceLine", "TaxLine", "Taxed"),
    "taxregions": ("TaxFollows", "TaxRegions"),
    "throttling": ("GuessLimit", "GuessPool", "Throttle"),
    "usagelimits": ("UsageLimit",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "CITY_CODE_NOTICE",
    "CODE_LIST_NOTICE",
    "NEW_RATE_NOTICE",
    "NORTH_AMERICA",
    "AccessKind",
    "AccessNumber",
    "Asks",
    "AuditReport",
    "Band",
    "BandRating",
    "Batch",
    "BatchFlags",
    "Beyond",
    "BillingCycle",
    "BlockRounding",
    "CallExplanation",
    "CallRecord",
    "Caller",
    "CallsOf",
    "CardView",
    "CardbillError",
    "Carrier",
    "Charge",
    "Comparison",
    "CycleUnit",
    "Deck",
    "DeckChange",
    "DeckChanges",
    "DeckRow",
    "Denial",
    "DenialCount",
    "Denied",
    "DestinationComparison",
    "DestinationGroup",
    "DialPlan",
    "Dialect",
    "Disclosure",
    "Engine",
    "Entry",
    "EntryKind",
    "ExchangeRate",
    "ExchangeRates",
    "Exemption",
    "Explanation",
    "FirstUse",
    "Generated",
    "Given",
    "Grant",
    "GuessLimit",
    "GuessPool",
    "HungCall",
    "IssuedPin",
    "Jurisdiction",
    "Keyring",
    "LimitedBy",
    "Line",
    "LineKind",
    "LogLine",
    "Margin",
    "MarginBy",
    "Match",
    "NotRegistered",
    "NumberCheck",
    "NumberType",
    "Offer",
    "Operation",
    "OperationKind",
    "Outcome",
    "Package",
    "PackageAmount",
    "ParkedReport",
    "PassedOver",
    "Plan",
    "PriceLine",
    "Purged",
    "Rate",
    "RateChange",
    "Rebind",
    "RecordExplanation",
    "Refused",
    "RegisteredNumber",
    "Registration",
    "Rounding",
    "RoundingMode",
    "Route",
    "RouteOrder",
    "Routing",
    "Short",
    "Stage",
    "Statement",
    "StatementLine",
    "Status",
    "Step",
    "Swept",
    "TalkTime",
    "Tax",
    "TaxAnswer",
    "TaxDecision",
    "TaxEngine",
    "TaxFallback",
    "TaxFollows",
    "TaxLevel",
    "TaxLine",
    "TaxOn",
    "TaxPeriod",
    "TaxRegions",
    "TaxRequest",
    "TaxTotal",
    "Taxed",
    "Throttle",
    "Trigger",
    "Unauthorised",
    "Unit",
    "Unreported",
    "UsageLimit",
    "Utilisation",
    "Validity",
    "__version__",
    "compare_decks",
    "dial_plan",
    "disclose",
    "errors",
    "explain",
    "format_money",
    "format_number",
    "max_duration",
    "number_type",
    "open",
    "open_storage",
    "place_of",
    "price",
    "rate",
    "read_deck",
    "write_deck",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("cardbill")
    from importlib import import_module

    if name == "errors":
        return import_module("cardbill.errors")
    if name not in _HOME:
        raise AttributeError(f"module 'cardbill' has no attribute {name!r}")
    value = getattr(import_module(f"cardbill.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
