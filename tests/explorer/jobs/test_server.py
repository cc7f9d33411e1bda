"""The start module of Streamlit's server: how many files it may hold open."""

from __future__ import annotations

import resource

import pytest

from explorer.jobs import server

NONE = resource.RLIM_INFINITY
MOST = server.OPEN_FILES


@pytest.mark.parametrize(
    ("soft", "hard", "then"),
    [
        (256, NONE, MOST),  # macOS
        (256, 256, 256),
        (256, 4096, 4096),
        (1024, 2**20, MOST),
        (MOST + 1, MOST + 1, MOST + 1),
        (NONE, NONE, NONE),
    ],
)
def test_the_soft_limit_of_open_files_is_raised_within_the_hard_one(monkeypatch, soft, hard, then):
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, now: limits.append(now))
    server.raise_open_files()
    assert limits[-1] == (then, hard)


def test_a_system_that_refuses_is_taken_as_it_is(monkeypatch):
    def refuse(which, now):
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, NONE))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    server.raise_open_files()
