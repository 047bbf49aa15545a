"""What is signed of a request, and how it is spelled: one file for each scheme, all of them on plain data.

No clock and no randomness: time and nonce are passed in, because each attempt has its own. No key is kept.
"""
