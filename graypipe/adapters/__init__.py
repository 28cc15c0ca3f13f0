"""Adapters: plans as the transforms and layers of other frameworks.

An adapter replaces the layouts of a plan by the layout of its framework's images. The
import paths are frozen, because saved pipelines and models name them.
"""
