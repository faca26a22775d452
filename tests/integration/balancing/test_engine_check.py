#!/usr/bin/env python3
"""tests/engines/check, which is meant for real servers, against the simulator's manners of them."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import ROOT, eq, main  # noqa: E402

CHECK = os.path.join(ROOT, "tests", "engines", "check")


def check(t, name, engine, *more, **flags):
    sim = t.sim(pods=2, engine=name, max_num_seqs=4, decode_step=5, **flags)
    run = t.process([sys.executable, CHECK, "--model", "tiny", "--engine", engine, *more,
                     *("127.0.0.1:%d" % port for port in sim.ports)], name="check")
    return run.wait(120), run.stdout


def passes(t, name, engine):
    status, text = check(t, name, engine)
    eq(status, 0, text)
    assert "6 passed, 0 failed" in text, text


def test_vllm_passes(t):
    passes(t, "vllm", "VLLM")


def test_sglang_passes(t):
    passes(t, "sglang", "SGLang")


def test_llamacpp_passes(t):
    passes(t, "llamacpp", "LlamaCpp")


def test_a_full_queue_is_told_apart(t):
    status, text = check(t, "vllm", "VLLM", max_queued=2)
    eq(status, 0, text)
    assert "'503'" in text, text


def test_what_does_not_hold_is_said(t):
    status, text = check(t, "vllm", "SGLang")
    eq(status, 1, text)
    assert "FAIL  test_the_engine_is_detected" in text, text


if __name__ == "__main__":
    main(globals())
