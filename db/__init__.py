"""The database: models, transactions and queries, a module for each resource. Imports only `data` of ours.

Query functions take the session first, flush and never commit: one request or task is one transaction.
"""
