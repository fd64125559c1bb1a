"""Lava Processes and ProcessModels, and nothing else.

To find a Process's models, Lava's compiler executes every file next to it, by path and under its bare name. So no other
code may be here, and imports within this folder must be absolute.
"""
