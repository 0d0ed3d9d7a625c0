"""Backends that break the contract in one point each. The contract suite must catch every one of them.

They are the mock with one method spoilt; ``tests/contract/test_backend_liars.py`` says which test finds which liar.
"""
