"""Random histories of cards that are sold with charges, packages and taxes.

`terms` draws what cards are sold with, `moves` what happens to them, `ways` plays that again in
another way. What must hold: a second opinion (`prices`, `costs`, `cards`, `ledger`, `calls`,
`accounts`), which is written from the rules of the domain alone, and `laws`. `planting` breaks
the library on purpose, by the list of `faults`.
"""
