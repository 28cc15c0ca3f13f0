"""Runs the examples in the docstrings of a module."""

import doctest
import importlib


def run_examples(module_name):
    """Run the examples of a module and of its classes and functions.

    Returns
    -------
    str
        What the examples that failed expected and got; empty if all of them passed.
    """
    report = []
    runner = doctest.DocTestRunner()
    module = importlib.import_module(module_name)
    for test in doctest.DocTestFinder().find(module):
        runner.run(test, out=report.append)
    return "".join(report)
