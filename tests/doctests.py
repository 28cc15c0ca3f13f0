"""Runs the examples in the docstrings of a module."""

import doctest
import importlib


def run_examples(module_name, is_wanted=lambda name: True):  # noqa: ARG005
    """Run the examples of a module and of its classes and functions.

    Parameters
    ----------
    module_name : str
    is_wanted : callable
        Called with the name of an object; returns whether its examples run.

    Returns
    -------
    str
        What the examples that failed expected and got; empty if all of them passed.
    """
    report = []
    runner = doctest.DocTestRunner()
    module = importlib.import_module(module_name)
    for test in doctest.DocTestFinder().find(module):
        if is_wanted(test.name):
            runner.run(test, out=report.append)
    return "".join(report)
