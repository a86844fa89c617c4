"""Where cards are kept: the contract, and the stores that keep to it."""
