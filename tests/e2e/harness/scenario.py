"""Named scenarios, how they fail, and how they are run and counted."""

import time
import traceback


class Failure(Exception):
    """What was expected did not happen; the text says what was seen."""


def check(condition, text):
    """Fails the scenario with the text unless the condition holds."""
    if not condition:
        raise Failure(text() if callable(text) else text)


class Suite:
    """The scenarios of one tier, in the order of their definition."""

    def __init__(self):
        self._scenarios = []

    def scenario(self, function):
        """Decorator: the function's name is the scenario's, its docstring says what it proves."""
        self._scenarios.append((function.__name__.replace("_", "-"), function))
        return function

    def names(self):
        return [(name, " ".join(function.__doc__.split())) for name, function in self._scenarios]

    def run(self, environment, only=()):
        """Runs the scenarios, or those named in only. Returns (passed, failed)."""
        passed = failed = 0
        for name, function in self._scenarios:
            if only and name not in only:
                continue
            begin = time.monotonic()
            environment.begin(name)
            try:
                function(environment)
                environment.after(name)
                passed += 1
                print(f"PASS {name} ({time.monotonic() - begin:.1f} s)", flush=True)
            except Exception as error:  # any failure is one of the scenario, and the next one runs
                failed += 1
                print(f"FAIL {name} ({time.monotonic() - begin:.1f} s)", flush=True)
                text = str(error)
                if not isinstance(error, Failure):
                    text = "".join(traceback.format_exception(error))
                print(_indented(text))
                print(_indented(environment.transcript()), flush=True)
            finally:
                environment.end(name)
        return passed, failed


def _indented(text):
    return "\n".join("    " + line for line in text.rstrip().splitlines())
