"""Faults in charges, in money put on cards and taken off, and between cards."""

from __future__ import annotations

from cardbill import accounting, charging, transferring
from cardbill.accounts import Accounts
from cardbill.operations import Request
from tests.sale.planting import Fault

IN_ACCOUNTS = [
    # -- charges
    Fault(
        "a debt forgets what was taken",
        56,
        charging.take,
        "amount - fits, begun",
        "amount, begun",
    ),
    Fault(
        "a debt that was paid in part stays",
        56,
        charging.pay_owed,
        "debts.pay(card.debts, name, paid)",
        "debts.pay(card.debts, name, min(paid, 1))",
    ),
    Fault(
        "a periodic charge is taxed as a surcharge",
        12,
        charging._quoted,
        "TaxOn.RECURRING if charge.trigger in PERIODIC else TaxOn.SURCHARGE",
        "TaxOn.SURCHARGE",
    ),
    Fault(
        "charges do not wait for open calls",
        1,
        charging.take,
        "if card.holds and waits:",
        "if False:",
    ),
    Fault(
        "a charge of a recharge is lost beside an open call",
        0,
        accounting.recharged,
        "waits=False",
        "waits=True",
    ),
    # -- one card
    Fault(
        "a recharge is no activity",
        6,
        accounting.recharged,
        "card.touch(at)",
        "pass",
    ),
    Fault(
        "a recharge may shorten the validity",
        0,
        accounting._extended,
        "return max(card.expires_at, until)",
        "return until",
    ),
    Fault(
        "credits revive expired cards",
        56,
        accounting.unusable_for,
        "(recharges and _revives(card, shelf, at))",
        "_revives(card, shelf, at)",
    ),
    Fault(
        "what a call holds can be refunded",
        6,
        accounting.operate,
        "if amount > card.spare or not amount:",
        "if amount > card.balance or not amount:",
    ),
    Fault(
        "packages are bought without tax",
        6,
        accounting._buy,
        "rules = shelf.taxes(batch, at)",
        "rules = None",
    ),
    # -- two cards
    Fault(
        "a transfer that was cut short is not gone on with by who asks again",
        6,
        Accounts._go_on,
        "if isinstance(sent, Denied):",
        "if isinstance(sent, Denied) or sent.replayed:",
        way="failing",
    ),
    Fault(
        "a transfer pays no debts",
        0,
        transferring.receive,
        "charging.pay_owed(card, plan.charges, shelf.taxes(batch, at), at, reference)",
        "pass",
    ),
    Fault(
        "a voucher that came back stays void",
        27,
        transferring.close,
        "card.voided = False",
        "pass",
    ),
    Fault(
        "a transfer arrives again when it is asked for again",
        0,
        transferring.receive,
        "if done is not None:",
        "if False:",
    ),
    Fault(
        "what comes back pays no debts",
        56,
        transferring.close,
        "charging.pay_owed(card, plan.charges, shelf.taxes(batch, at), at, reference)",
        "pass",
    ),
    Fault(
        "a refusal is not recorded",
        6,
        transferring.receive,
        "record_done(card, request, 0, at, refused=denied.reason.value)",
        "pass",
    ),
    Fault(
        "what was refused is taken later",
        7,
        transferring.receive,
        "if done is not None:",
        "if done is not None and not done.refused:",
    ),
    Fault(
        "the giving card takes what was refused for done",
        6,
        transferring.close,
        "card.operations.append(refused)",
        "pass",
    ),
    Fault(
        "a key sends money to any card",
        34,
        Request.again,
        '("to", self.other, done.other)',
        '("to", "", "")',
    ),
]
