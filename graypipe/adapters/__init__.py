"""Adapters that turn plans into transforms and layers of other frameworks.

An adapter replaces the layouts of a plan with the image layout of its framework. The
import paths must not change, because saved pipelines and models refer to them.
"""
