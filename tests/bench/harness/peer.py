"""The other side of the proxies: tests/bench/peer.c, built and driven."""

import json
import os
import subprocess

MESSAGES = [
    ("system", "You are a careful assistant for the operators of a hydroelectric plant. "
               "Answer from the manual and say which page you used. "),
    ("user", "Turbine two reports cavitation at a head of thirty metres. "
             "What do I check first, and in which order? "),
]


def chat_body(size, stream):
    """A chat completion request of exactly `size` bytes (0: as long as it comes)."""
    body = {
        "model": "bench-model",
        "messages": [{"role": role, "content": text} for role, text in MESSAGES],
        "temperature": 0.2,
        "max_tokens": 512,
        "stream": stream,
    }
    text = json.dumps(body, separators=(",", ":"))
    if size:
        filler = ""
        while len(filler) < size - len(text):
            filler += MESSAGES[1][1]
        body["messages"][-1]["content"] += filler[: size - len(text)]
        text = json.dumps(body, separators=(",", ":"))
    return text


def request(method, path, body=""):
    """The head that a client SDK sends, and the body."""
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: bench.example.com",
        "Accept: application/json",
        "Accept-Encoding: gzip, deflate",
        "User-Agent: OpenAI/Python 2.8.0",
        "X-Stainless-Lang: python",
        "X-Stainless-Package-Version: 2.8.0",
        "X-Stainless-OS: Linux",
        "X-Stainless-Arch: x64",
        "X-Stainless-Runtime: CPython",
        "X-Stainless-Retry-Count: 0",
        "Authorization: Bearer sk-0123456789abcdef0123456789abcdef",
    ]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(head) + "\r\n\r\n" + body


class Peer:
    def __init__(self, folder, ports, cpu):
        self.dir = folder
        self.cpu = cpu
        self.files = 0
        binary = os.path.join(folder, "peer")
        source = os.path.join(os.path.dirname(__file__), "..", "peer.c")
        if not os.path.exists(binary) or os.path.getmtime(binary) < os.path.getmtime(source):
            subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu17", "-O2", "-g", "-D_GNU_SOURCE",
                            "-Wall", "-o", binary, source], check=True)
        self.proc = subprocess.Popen(["taskset", "-c", str(cpu), binary] + [str(p) for p in ports],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.command("reset")

    def command(self, line):
        try:
            self.proc.stdin.write(line + "\n")
            self.proc.stdin.flush()
            answer = self.proc.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise SystemExit(f"bench: the load process ended with {self.proc.wait(5)}")
        answer = json.loads(answer)
        if "error" in answer:
            raise RuntimeError(f"{line}: {answer['error']}")
        return answer

    def load(self, port, connections, text, kind):
        path = os.path.join(self.dir, "request.txt")
        with open(path, "w", newline="") as f:
            f.write(text)
        self.command(f"load {port} {connections} {path} {kind}")

    def close(self):
        try:
            self.proc.stdin.close()
        except BrokenPipeError:
            pass  # it is gone already
        self.proc.wait(5)
