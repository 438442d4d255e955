"""Archive health: what an archive holds and what is wrong with it, as one page, before any model is trained.

`gathered` turns listing, ledger, sample and split into one table of files; each section of the page counts from it.
Names of places and cameras are hashed on the way in, so no section can print them.
"""
