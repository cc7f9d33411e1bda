"""Threads by the size of the model, and by the processors that this process may use."""

from __future__ import annotations

import math
import os

import pytest
import torch

from influence import threads


@pytest.fixture(autouse=True)
def threads_of_torch():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def system(tmp_path):
    """Files of a system, by their paths."""

    def system(files: dict[str, str]):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return system


V1 = "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n3:cpuset:/other\n"
SYSTEMS = {
    "no Linux": ({}, math.inf),
    "no limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, math.inf),
    "version 2": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
    "a group around": (
        {
            "proc/self/cgroup": "0::/user/task\n",
            "sys/fs/cgroup/user/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/user/task/cpu.max": "max 100000\n",
        },
        2,
    ),
    "version 1": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu/docker/a/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/docker/a/cpu.cfs_period_us": "100000\n",
        },
        0.5,
    ),
    "version 1, no limit": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        math.inf,
    ),
    "path of the host": ({"proc/self/cgroup": "0::/far/away\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
    "not readable": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "much\n"}, math.inf),
}


@pytest.mark.parametrize("which", SYSTEMS)
def test_quota_of_the_control_groups(which, system):
    files, expected = SYSTEMS[which]
    assert threads.quota(system(files)) == expected


@pytest.mark.parametrize(("limit", "expected"), [("max", 4), ("150000", 2), ("800000", 4), ("10000", 1)])
def test_processors_are_those_of_affinity_and_quota(limit, expected, system, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
    root = system({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{limit} 100000\n"})
    assert threads.processors(root) == expected


@pytest.mark.parametrize(
    ("parameters", "chosen", "expected"),
    [(500, None, 1), (threads.SMALL + 1, None, 3), (500, 2, 2), (threads.SMALL + 1, 5, 5)],
)
def test_small_models_use_one_thread_and_a_choice_is_kept(parameters, chosen, expected, monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 3)
    torch.set_num_threads(4)
    assert threads.set_threads(parameters, chosen) == torch.get_num_threads() == expected


def test_no_more_than_pytorch_was_told_to_use(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 8)
    torch.set_num_threads(2)
    assert threads.set_threads(threads.SMALL + 1) == 2
