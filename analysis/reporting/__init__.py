"""A report of all that a ledger can fill, as blocks that become one HTML page and one PDF."""
