"""Prepare: archives to versioned datasets of pixels, records and ledger."""
