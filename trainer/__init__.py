"""The trainer: SFT, preference tuning, export and evaluation, a program over plain files.

Axis letters in names and comments: B rows in a batch, T positions (tokens), D hidden size, V vocabulary.
"""
