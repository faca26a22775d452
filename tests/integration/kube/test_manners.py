#!/usr/bin/env python3
"""The stand-in API server has the manners of the real one (manners.json)."""

import json
import os

from harness import eq, main
from kube_standin import Standin
from manners import Asker, observe

HERE = os.path.dirname(os.path.abspath(__file__))


def test_the_stand_in_answers_as_the_real_server(t):
    server = Standin(log=t.log)
    t.defer(server.stop)
    server.tokens = {"good"}

    def change(verb, plural, name):
        if verb == "delete":
            server.delete(plural, "ml", name)
        else:
            server.put(plural, {"metadata": {"namespace": "ml", "name": name}, "spec": {}})
    server.compact("airoutes")  # so that version 1 is long ago
    notes = observe(Asker(server.url, token="good"), change)
    with open(os.path.join(HERE, "manners.json"), encoding="utf-8") as file:
        real = json.load(file)["notes"]
    eq(sorted(notes), sorted(real))
    for name, note in real.items():
        eq(notes[name], note, name)


if __name__ == "__main__":
    main(globals())
