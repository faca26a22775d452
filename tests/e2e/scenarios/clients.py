"""Client tier: the official OpenAI client (npm `openai`) talks to Headrace unchanged, and h2spec
finds nothing that is not meant."""

from harness.scenario import Suite

SUITE = Suite()

# The cases of tests/clients/openai.cjs, and what each proves.
CASES = {
    "chat": "A chat completion, with its usage.",
    "chat-stream": "A streamed chat completion, chunk by chunk, with usage at the end.",
    "chat-stream-helper": "The client's own stream helper assembles the same text.",
    "completions": "Text completions, streamed and not.",
    "embeddings": "Embeddings of several inputs, as numbers and as base64.",
    "models": "The list of models, aliases included.",
    "alias": "A model that is asked for by its alias.",
    "unknown-model": "An unknown model is a NotFoundError that names a close one.",
    "bad-request": "A body without a sound model is a BadRequestError.",
    "unavailable": "A backend without a reachable endpoint is an InternalServerError, 502.",
    "abort": "A stream that the client leaves early leaves nothing behind.",
    "parallel": "Two dozen requests at once.",
}


def _add(name, proves):
    def case(environment):
        environment.node(name)
    case.__name__ = "openai_" + name.replace("-", "_")
    case.__doc__ = proves
    SUITE.scenario(case)


for _name, _proves in CASES.items():
    _add(_name, _proves)


# A wrong preface gets an HTTP/1 error and not a bare close; a stream id below an earlier one counts
# as a closed stream.
MEANT = {"Sends invalid connection preface",
         "Sends stream identifier that is numerically smaller than previous"}


@SUITE.scenario
def h2spec(environment):
    """The 145 tests of h2spec: all but two deviations that are meant."""
    count, failed = environment.h2spec()
    assert count >= 145, f"{count} tests ran"
    assert failed == MEANT, f"failed: {failed}"
