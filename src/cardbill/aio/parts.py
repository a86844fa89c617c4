"""The collections of an asynchronous engine: each method as that of its synchronous twin."""

from __future__ import annotations

from cardbill.accounts import Accounts
from cardbill.aio.wrapping import Part, awaited, streamed
from cardbill.callers import Callers
from cardbill.control import Control
from cardbill.issuing import Batches
from cardbill.reports import Reports
from cardbill.shelf import (
    AccessNumbers,
    Carriers,
    Decks,
    Exchange,
    Groups,
    Jurisdictions,
    Plans,
)


class AsyncDecks(Part[Decks]):
    """Rate decks."""

    names = awaited(Decks.names)
    version = awaited(Decks.version)
    publish = awaited(Decks.publish)
    get = awaited(Decks.get)


class AsyncGroups(Part[Groups]):
    """Destination groups."""

    names = awaited(Groups.names)
    version = awaited(Groups.version)
    publish = awaited(Groups.publish)
    get = awaited(Groups.get)


class AsyncJurisdictions(Part[Jurisdictions]):
    """Tax jurisdictions."""

    names = awaited(Jurisdictions.names)
    version = awaited(Jurisdictions.version)
    publish = awaited(Jurisdictions.publish)
    get = awaited(Jurisdictions.get)
    check = awaited(Jurisdictions.check)


class AsyncPlans(Part[Plans]):
    """Subscription plans."""

    names = awaited(Plans.names)
    version = awaited(Plans.version)
    publish = awaited(Plans.publish)
    get = awaited(Plans.get)


class AsyncCarriers(Part[Carriers]):
    """Carriers."""

    names = awaited(Carriers.names)
    version = awaited(Carriers.version)
    publish = awaited(Carriers.publish)
    get = awaited(Carriers.get)


class AsyncExchange(Part[Exchange]):
    """What currencies are worth in the base currency, in which margins are kept."""

    publish = awaited(Exchange.publish)
    get = awaited(Exchange.get)
    version = awaited(Exchange.version)
    missing = awaited(Exchange.missing)


class AsyncAccessNumbers(Part[AccessNumbers]):
    """Access numbers, named by their digits."""

    names = awaited(AccessNumbers.names)
    version = awaited(AccessNumbers.version)
    publish = awaited(AccessNumbers.publish)
    get = awaited(AccessNumbers.get)
    find = awaited(AccessNumbers.find)


class AsyncBatches(Part[Batches]):
    """Batches and their PINs."""

    names = awaited(Batches.names)
    version = awaited(Batches.version)
    create = awaited(Batches.create)
    get = awaited(Batches.get)
    assign = awaited(Batches.assign)
    guess_probability = awaited(Batches.guess_probability)
    generate_pins = awaited(Batches.generate_pins)
    upload_pins = awaited(Batches.upload_pins)
    pins = awaited(Batches.pins)
    reveal = awaited(Batches.reveal)
    export = awaited(Batches.export)
    drop_sealed = awaited(Batches.drop_sealed)
    rekey = awaited(Batches.rekey)


class AsyncAccounts(Part[Accounts]):
    """Recharges, credits, refunds, write-offs, manual charges and packages that are bought."""

    recharge = awaited(Accounts.recharge)
    credit = awaited(Accounts.credit)
    refund = awaited(Accounts.refund)
    write_off = awaited(Accounts.write_off)
    charge = awaited(Accounts.charge)
    buy = awaited(Accounts.buy)
    transfer = awaited(Accounts.transfer)
    redeem = awaited(Accounts.redeem)
    resume = awaited(Accounts.resume)
    operations = streamed(Accounts.operations)


class AsyncCallers(Part[Callers]):
    """Callers' numbers as credentials (PINless)."""

    register = awaited(Callers.register)
    confirm = awaited(Callers.confirm)
    unregister = awaited(Callers.unregister)
    numbers = awaited(Callers.numbers)


class AsyncControl(Part[Control]):
    """What operators do to cards and batches, with who and why."""

    block = awaited(Control.block)
    unblock = awaited(Control.unblock)
    void = awaited(Control.void)
    sell = awaited(Control.sell)
    sell_range = awaited(Control.sell_range)
    block_batch = awaited(Control.block_batch)
    unblock_batch = awaited(Control.unblock_batch)
    freeze = awaited(Control.freeze)
    thaw = awaited(Control.thaw)
    move = awaited(Control.move)
    move_batch = awaited(Control.move_batch)
    flags = awaited(Control.flags)


class AsyncReports(Part[Reports]):
    """Reports over one store; each reads it page by page while calls go on."""

    utilisation = awaited(Reports.utilisation)
    utilisations = streamed(Reports.utilisations)
    margins = awaited(Reports.margins)
    taxes = awaited(Reports.taxes)
    denials = awaited(Reports.denials)
    hung_calls = streamed(Reports.hung_calls)
    what_if = awaited(Reports.what_if)
    log = streamed(Reports.log)
    suspense = streamed(Reports.suspense)
