"""Faults in taxes: what they come to, and which are in force."""

from __future__ import annotations

from cardbill import (
    accounting,
    jurisdictions,
    passing,
    reach,
    saletaxes,
    taxes,
    taxforms,
    transferring,
)
from cardbill.catalogue import Snapshot
from cardbill.shelf import Jurisdictions
from cardbill.taxes import TaxRules
from tests.sale.planting import Fault

IN_TAXES = [
    # -- taxes
    Fault(
        "a higher tier is on the net price alone",
        6,
        taxforms._by_net,
        "below = above",
        "pass",
    ),
    Fault(
        "inclusive taxes are rounded one by one",
        7,
        TaxRules._shared_out,
        "for index in by_remainder[:left]:",
        "for index in by_remainder[:0]:",
    ),
    Fault(
        "the tax in a price is taken off its first line",
        17,
        taxes._nets,
        "part = (contained * weight / weight_left).as_integer_ratio()",
        "part = (contained, 1)",
    ),
    Fault(
        "the sale of a voucher bears no tax",
        0,
        transferring.send_all,
        "    saletaxes.used(card, batch, shelf, at)",
        "    pass",
    ),
    Fault(
        "a recharge bears no tax on its sale",
        0,
        accounting.operate,
        "saletaxes.told(card, batch, amount, reference, shelf, at)",
        "pass",
    ),
    Fault(
        "a card that was sold before a tax began is taxed when it is used",
        17,
        saletaxes.used,
        "not card.sold and ",
        "",
    ),
    Fault(
        "a tax begins an instant after its date",
        20,
        jurisdictions._holds,
        "begin <= at)",
        "begin < at)",
    ),
    Fault(
        "the newest taxes are on what is past",
        20,
        Snapshot.taxes,
        "self.jurisdiction_at(name, at)",
        "self.jurisdiction(name)",
    ),
    Fault(
        "taxes count an instant after they are published",
        7,
        Snapshot.jurisdiction_at,
        "at < self",
        "at <= self",
    ),
    Fault(
        "a period is taxed by what is in force when somebody looks",
        20,
        passing._charges,
        "shelf.taxes(terms.batch, due)",
        "shelf.taxes(terms.batch, until)",
    ),
    Fault(
        "a recharge is taxed by what was in force at the first use",
        14,
        saletaxes.told,
        "shelf.taxes(batch, at)",
        "shelf.taxes(batch, card.first_used_at or at)",
    ),
    Fault(
        "a call is taxed by what was in force at the first use",
        7,
        reach.call_terms,
        "shelf.taxes(batch, at,",
        "shelf.taxes(batch, card.first_used_at or at,",
    ),
    Fault(
        "what was taxed at its sale is taxed at its use by a new version",
        17,
        Jurisdictions.check,
        "check_taxed_once(found, self._earlier(batch, changed))",
        "check_taxed_once(found)",
    ),
    Fault(
        "a version before the newest is forgotten",
        43,
        Jurisdictions._earlier,
        "range(1, newest + 1)",
        "range(newest, newest + 1)",
    ),
]
