"""Adapters: plans as the transforms and layers of one framework each.

In an adapter the container states the layout, so a plan's own layouts are replaced when the adapter is built. Import
paths are frozen, because saved pipelines name them.
"""
