"""Lava Processes and ProcessModels, and nothing else.

Lava's compiler executes every file that lies beside a Process, by path and under its bare name, to find its models: so
no other code may live here, and imports within this folder must be absolute.
"""
