"""Processes: results in order, few tasks at a time, errors of the work and of the processes."""

import math
import multiprocessing
import os
from contextlib import closing

import pytest

import graypipe as gp
from graypipe.batch_jobs import local


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks_however_long_each_takes(workers):
    tasks = [20_000, 3, 15_000, 4, 5, 6]
    with closing(local.map_in_order(math.factorial, tasks, workers)) as results:
        assert list(results) == [math.factorial(task) for task in tasks]


@pytest.mark.parametrize("workers", [1, 2])
def test_few_tasks_are_taken_ahead_so_that_memory_does_not_grow_with_their_number(
    workers,
):
    taken = []

    def tasks():
        for task in range(200):
            taken.append(task)
            yield task

    with closing(local.map_in_order(math.sqrt, tasks(), workers)) as results:
        for done, _ in enumerate(results, 1):
            assert len(taken) <= done + workers * local.TASKS_PER_WORKER
    assert len(taken) == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_work_raises_is_raised_and_the_rest_is_left(workers):
    with (
        closing(
            local.map_in_order(math.sqrt, [4, -1, *range(500)], workers)
        ) as results,
        pytest.raises(ValueError, match=r"math domain error|nonnegative"),
    ):
        list(results)


def test_a_worker_that_dies_is_an_error_that_says_so():
    with (
        closing(local.map_in_order(os._exit, [1, 2, 3], 2)) as results,
        pytest.raises(gp.GraypipeError, match="worker process died"),
    ):
        list(results)


def test_no_process_stays_behind():
    with closing(local.map_in_order(math.sqrt, range(100), 2)) as results:
        next(results)
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()
