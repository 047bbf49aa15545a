"""Listeners that hand on what they are told: to logs, traces, metrics, and a file.

Each is a module of its own, imported by those who use it, and knows nothing of holdfast but `holdfast.events`.
"""
