"""Random histories of cards that are sold with charges, packages and taxes.

`terms` draws what cards are sold with, `moves` what happens to them, `desk` does it at a shop,
`ways` plays it again in another way. What must hold: a second opinion (`prices`, `versions`,
`costs`, `cards`, `ledger`, `calls`, `accounts`), which is written from the rules of the domain
alone, and `laws`. `planting` breaks the library on purpose, by the lists of `faults`.
"""
