"""Objects at the edges of the schema: each with what is said of it, or None where it is sound.

The API server and `headrace validate` must judge every one of them alike.
"""

import copy

POOL = {"serviceRef": {"name": "llm", "port": "http"}}


def _backend(spec, name="object"):
    return {"apiVersion": "headrace.dev/v1alpha1", "kind": "ModelBackend",
            "metadata": {"name": name}, "spec": spec}


def _route(rules, **spec):
    return {"apiVersion": "headrace.dev/v1alpha1", "kind": "AIRoute",
            "metadata": {"name": "object"}, "spec": {"rules": rules, **spec}}


def _rule(**more):
    return {"name": "main", "backends": [{"name": "llm"}], **more}


def _match(**match):
    return _route([_rule(matches=[match])])


def _answer(**more):
    return _route([{"name": "main", **more}])


def _does(**more):
    return _route([_rule(**more)])


def _cors(**more):
    return _does(cors={"allowOrigins": ["https://a.org"], **more})


def _static(*endpoints):
    return _backend({"static": {"endpoints": list(endpoints)}})


def _endpoint(address, port=8000, **more):
    return {"address": address, "port": port, **more}


def _without(item, *path):
    """The object without the field at that path."""
    changed = copy.deepcopy(item)
    at = changed
    for name in path[:-1]:
        at = at[name]
    del at[path[-1]]
    return changed


NAMED_BACKENDS = [_backend({"pool": POOL}, name) for name in ("llm", "next")]

# (name, object, a part of what is said of it or None)
OBJECTS = [
    # ---- ModelBackend: pools
    ("service port by name", _backend({"pool": POOL}), None),
    ("service port by number", _backend({"pool": {"serviceRef": {"name": "llm", "port": 80}}}),
     None),
    ("service port too large",
     _backend({"pool": {"serviceRef": {"name": "llm", "port": 65536}}}), "65535"),
    ("service port zero", _backend({"pool": {"serviceRef": {"name": "llm", "port": 0}}}), "port"),
    ("service port of a wrong form",
     _backend({"pool": {"serviceRef": {"name": "llm", "port": "HTTP"}}}), "port"),
    ("service without a port", _backend({"pool": {"serviceRef": {"name": "llm"}}}), "port"),
    ("service name with a dot",
     _backend({"pool": {"serviceRef": {"name": "llm.other", "port": 80}}}), "name"),
    ("no endpoints at all", _backend({}), "exactly one of pool and static"),
    ("two kinds of endpoints",
     _backend({"pool": POOL, "static": {"endpoints": [_endpoint("10.0.0.1")]}}),
     "exactly one of pool and static"),
    ("selector", _backend({"pool": {"selector": {"matchLabels": {"app": "x"}}, "port": 8000}}),
     None),
    ("selector without a port",
     _backend({"pool": {"selector": {"matchLabels": {"app": "x"}}}}), "port goes with selector"),
    ("selector without labels",
     _backend({"pool": {"selector": {"matchLabels": {}}, "port": 8000}}), "matchLabels"),
    ("selector with a domain",
     _backend({"pool": {"selector": {"matchLabels": {"%s/%s" % ("a" * 253, "B_" + "c" * 61): ""}},
                        "port": 8000}}), None),
    *[("selector by %s" % what,
       _backend({"pool": {"selector": {"matchLabels": {key: "x"}}, "port": 8000}}),
       "the key of a label")
      for what, key in (("a key with a space", "a b"), ("an empty key", ""),
                        ("a key that is too long", "a" * 64), ("a key of two slashes", "a/b/c"),
                        ("a key with a domain in upper case", "A.b/c"),
                        ("a key with a domain that is too long", "a" * 254 + "/b"))],
    ("selector by a value that no label has",
     _backend({"pool": {"selector": {"matchLabels": {"a": "b c"}}, "port": 8000}}), "matchLabels"),
    ("selector and service",
     _backend({"pool": {**POOL, "selector": {"matchLabels": {"app": "x"}}, "port": 8000}}),
     "exactly one of serviceRef and selector"),
    ("service with a pod port", _backend({"pool": {**POOL, "port": 8000}}),
     "port goes with selector"),
    ("empty pool", _backend({"pool": {}}), "exactly one of serviceRef and selector"),
    # ---- ModelBackend: static
    ("IPv4 and IPv6", _static(_endpoint("10.0.0.1"), _endpoint("fd00::1")), None),
    ("endpoint with a weight", _static(_endpoint("10.0.0.1", weight=100)), None),
    ("endpoint weight too large", _static(_endpoint("10.0.0.1", weight=101)), "weight"),
    ("endpoint by host name", _static(_endpoint("gpu.example.com")), "IPv4 or IPv6"),
    ("IPv4 in the guise of IPv6", _static(_endpoint("::ffff:10.0.0.1")), "IPv4 or IPv6"),
    ("an odd writing of an address", _static(_endpoint("FD00:0:0::0001")), None),
    ("address with brackets", _static(_endpoint("[fd00::1]")), "IPv4 or IPv6"),
    ("endpoint without a port", _without(_static(_endpoint("10.0.0.1")),
                                         "spec", "static", "endpoints", 0, "port"), "port"),
    ("the same endpoint twice", _static(_endpoint("10.0.0.1"), _endpoint("10.0.0.1")), "uplicate"),
    ("one address, two ports", _static(_endpoint("10.0.0.1"), _endpoint("10.0.0.1", 8001)), None),
    ("no endpoint", _static(), "endpoints"),
    # ---- ModelBackend: the rest
    ("unknown engine", _backend({"pool": POOL, "engine": "Steam"}), "engine"),
    ("unknown field", _backend({"pool": POOL, "enigne": "VLLM"}), "enigne"),
    ("unknown field deep down",
     _backend({"pool": POOL, "metrics": {"intervall": "1s"}}), "intervall"),
    ("mapping of a known engine",
     _backend({"pool": POOL, "engine": "VLLM", "metrics": {"mapping": {"waiting": "w"}}}),
     "only for engine Generic"),
    ("mapping of Generic",
     _backend({"pool": POOL, "engine": "Generic", "metrics": {"mapping": {"waiting": "w"}}}), None),
    ("empty mapping",
     _backend({"pool": POOL, "engine": "Generic", "metrics": {"mapping": {}}}), "mapping"),
    ("interval too short", _backend({"pool": POOL, "metrics": {"interval": "10ms"}}),
     "between 20ms and 1m"),
    ("interval of a wrong form", _backend({"pool": POOL, "metrics": {"interval": "fast"}}),
     "interval"),
    ("interval of two units", _backend({"pool": POOL, "metrics": {"interval": "1s500ms"}}), None),
    ("stale before the next read",
     _backend({"pool": POOL, "metrics": {"interval": "3s"}}), "at least interval"),
    ("metrics path without a slash", _backend({"pool": POOL, "metrics": {"path": "metrics"}}),
     "path"),
    ("model with its own alias",
     _backend({"pool": POOL, "models": [{"name": "a", "aliases": ["a"]}]}), "alias"),
    ("the same alias twice",
     _backend({"pool": POOL, "models": [{"name": "a", "aliases": ["b", "b"]}]}), "uplicate"),
    ("the same model twice",
     _backend({"pool": POOL, "models": [{"name": "a"}, {"name": "a"}]}), "uplicate"),
    ("model with a space at the end", _backend({"pool": POOL, "models": [{"name": "a "}]}), "name"),
    ("model with a space within", _backend({"pool": POOL, "models": [{"name": "a b/c:d"}]}), None),
    ("model beyond ASCII", _backend({"pool": POOL, "models": [{"name": "modèle"}]}), "name"),
    ("too many models",
     _backend({"pool": POOL, "models": [{"name": f"m{n}"} for n in range(65)]}), "64"),
    ("as many models as may be",
     _backend({"pool": POOL, "models": [{"name": f"m{n}"} for n in range(64)]}), None),
    ("unknown policy", _backend({"pool": POOL, "balancing": {"policy": "Fastest"}}), "policy"),
    ("connect too short", _backend({"pool": POOL, "timeouts": {"connect": "1ms"}}),
     "between 10ms and 5m"),
    ("first token too late", _backend({"pool": POOL, "timeouts": {"firstToken": "25h"}}),
     "between 100ms and 24h"),
    ("a day between tokens", _backend({"pool": POOL, "timeouts": {"betweenTokens": "24h"}}), None),
    ("a number for a duration", _backend({"pool": POOL, "timeouts": {"connect": 2}}), "connect"),
    ("no spec", {"apiVersion": "headrace.dev/v1alpha1", "kind": "ModelBackend",
                 "metadata": {"name": "object"}}, "spec"),
    # ---- ModelBackend: protocol and TLS
    ("protocol", _backend({"pool": POOL, "protocol": "HTTP2"}), None),
    ("unknown protocol", _backend({"pool": POOL, "protocol": "HTTP3"}), "protocol"),
    ("TLS by the system", _backend({"pool": POOL, "tls": {}}), None),
    ("TLS with everything", _backend({"pool": POOL, "tls": {
        "caRef": {"name": "ca"}, "serverName": "llm.example.com",
        "clientCertificateRef": {"name": "c"}}}), None),
    ("TLS unverified", _backend({"pool": POOL, "tls": {"insecureSkipVerify": True}}), None),
    ("TLS unverified by authorities",
     _backend({"pool": POOL, "tls": {"insecureSkipVerify": True, "caRef": {"name": "ca"}}}),
     "set one"),
    ("TLS by an unknown kind", _backend({"pool": POOL, "tls": {
        "caRef": {"kind": "Bundle", "name": "ca"}}}), "kind"),
    ("TLS server name with a port", _backend({"pool": POOL, "tls": {"serverName": "a.com:443"}}),
     "serverName"),
    # ---- AIRoute
    ("smallest route", _route([_rule()]), None),
    ("no rules", _route([]), "rules"),
    ("rule without a name", _route([_without(_rule(), "name")]), "name"),
    ("rule name in capitals", _route([{**_rule(), "name": "Main"}]), "name"),
    ("two rules of one name", _route([_rule(), _rule()]), "uplicate"),
    ("rule without backends", _route([{**_rule(), "backends": []}]), "backends"),
    ("all weights zero", _route([{**_rule(), "backends": [{"name": "llm", "weight": 0}]}]),
     "weight above 0"),
    ("one weight zero", _route([{**_rule(), "backends": [
        {"name": "llm", "weight": 0}, {"name": "next"}]}]), None),
    ("negative weight", _route([{**_rule(), "backends": [{"name": "llm", "weight": -1}]}]),
     "weight"),
    ("weight with a fraction",
     _route([{**_rule(), "backends": [{"name": "llm", "weight": 1.5}]}]), "weight"),
    ("wildcard host", _route([_rule()], hostnames=["*.example.com"]), None),
    ("host in capitals", _route([_rule()], hostnames=["API.example.com"]), "hostnames"),
    ("host with a port", _route([_rule()], hostnames=["example.com:80"]), "hostnames"),
    ("wildcard within", _route([_rule()], hostnames=["a.*.com"]), "hostnames"),
    ("the same host twice", _route([_rule()], hostnames=["a.com", "a.com"]), "uplicate"),
    ("TLS for all hosts", _route([_rule()], hostnames=["a.com", "*.b.com"],
                                 tls=[{"secretName": "c"}]), None),
    ("TLS for whatever host", _route([_rule()], tls=[{"secretName": "c"}]), None),
    ("TLS host of no hostname", _route([_rule()], hostnames=["a.com"],
                                       tls=[{"secretName": "c", "hosts": ["b.com"]}]),
     "one of hostnames"),
    ("TLS hosts under a wildcard",
     _route([_rule()], hostnames=["*.b.com"],
            tls=[{"secretName": "c", "hosts": ["x.b.com", "y.x.b.com", "*.x.b.com"]}]), None),
    ("TLS host beside a wildcard",
     _route([_rule()], hostnames=["*.b.com"], tls=[{"secretName": "c", "hosts": ["b.com"]}]),
     "one of hostnames"),
    ("TLS wildcard of an exact hostname",
     _route([_rule()], hostnames=["x.b.com"], tls=[{"secretName": "c", "hosts": ["*.b.com"]}]),
     "one of hostnames"),
    ("TLS hosts without hostnames",
     _route([_rule()], tls=[{"secretName": "c", "hosts": ["a.com"]}]), None),
    ("two TLS entries", _route([_rule()], hostnames=["a.com", "b.com"],
                               tls=[{"secretName": "c", "hosts": ["a.com"]},
                                    {"secretName": "c", "hosts": ["b.com"]}]), None),
    ("two TLS entries for one host",
     _route([_rule()], hostnames=["a.com"], tls=[{"secretName": "c", "hosts": ["a.com"]},
                                                 {"secretName": "d", "hosts": ["a.com"]}]),
     "no two the same"),
    ("two TLS entries, one for all",
     _route([_rule()], hostnames=["a.com"], tls=[{"secretName": "c", "hosts": ["a.com"]},
                                                 {"secretName": "d"}]), "names its hosts"),
    ("TLS without a Secret", _route([_rule()], tls=[{"hosts": ["a.com"]}]), "secretName"),
    ("TLS for no host", _route([_rule()], tls=[{"secretName": "c", "hosts": []}]), "hosts"),
    ("client certificates",
     _route([_rule()], tls=[{"secretName": "c", "clientAuth": {
         "mode": "Optional", "caRef": {"kind": "Secret", "name": "ca", "key": "tls.crt"}}}]), None),
    ("client certificates of nobody",
     _route([_rule()], tls=[{"secretName": "c", "clientAuth": {"mode": "Required"}}]), "caRef"),
    ("client certificates by a key that no ConfigMap has",
     _route([_rule()], tls=[{"secretName": "c", "clientAuth": {
         "caRef": {"name": "ca", "key": "a/b"}}}]), "key"),
    ("redirect to https", _route([_rule()], httpsRedirect=True, httpsPort=8443), None),
    ("redirect in quotes", _route([_rule()], httpsRedirect="true"), "httpsRedirect"),
    ("https port without a redirect", _route([_rule()], httpsPort=8443),
     "goes with httpsRedirect"),
    ("HSTS", _route([_rule()], hsts={}), None),
    ("HSTS that is forgotten", _route([_rule()], hsts={"maxAge": "0s"}), None),
    ("HSTS for lists", _route([_rule()], hsts={"includeSubDomains": True, "preload": True}), None),
    ("HSTS for lists, too short",
     _route([_rule()], hsts={"maxAge": "8759h59m", "includeSubDomains": True, "preload": True}),
     "at least a year"),
    ("HSTS for lists, too narrow", _route([_rule()], hsts={"preload": True}),
     "includeSubDomains"),
    ("foreign class", _route([_rule()], ingressClassName="other"), None),
    ("class in capitals", _route([_rule()], ingressClassName="Other"), "ingressClassName"),
    ("path", _match(path={"value": "/v1/chat"}), None),
    ("path without a slash", _match(path={"value": "v1"}), "path"),
    ("path with a query", _match(path={"value": "/v1?x"}), "path"),
    ("path with a dot segment", _match(path={"value": "/v1/../admin"}), "segments"),
    ("path with an empty segment", _match(path={"value": "/v1//chat"}), "segments"),
    ("path with an escape", _match(path={"value": "/a%20b/%2F/%E2%82%AC"}), None),
    ("path with an escape in lower case", _match(path={"value": "/a%2fb"}), "upper case"),
    ("path with a needless escape", _match(path={"value": "/%76ersion"}), "percent-encoded"),
    ("path with a broken escape", _match(path={"value": "/100%"}), "percent-encoded"),
    ("path with a brace", _match(path={"value": "/v1/{id}"}), "percent-encoded"),
    ("path with odd but allowed characters", _match(path={"value": "/a;b=[c]|d^e:f@(g)~h"}), None),
    ("unknown path type", _match(path={"type": "Glob", "value": "/v1"}), "type"),
    ("method", _match(method="POST"), None),
    ("unknown method", _match(method="BREW"), "method"),
    ("headers", _match(headers=[{"name": "X-Tier", "value": "gold"},
                                {"name": "x-zone", "type": "Regex", "value": "a|b"}]), None),
    ("header name with a space", _match(headers=[{"name": "x tier", "value": "gold"}]), "name"),
    ("header without a value", _match(headers=[{"name": "x-tier"}]), "value"),
    ("model by prefix", _match(models=[{"type": "Prefix", "value": "llama-"}]), None),
    ("unknown model match", _match(models=[{"type": "Suffix", "value": "b"}]), "type"),
    ("fallbacks", _route([_rule(fallbacks=[{"name": "next", "model": "m"}])]), None),
    ("fallback with a weight", _route([_rule(fallbacks=[{"name": "next", "weight": 1}])]),
     "weight"),
    ("request time-out", _route([_rule(timeouts={"request": "10m"})]), None),
    ("request time-out too short", _route([_rule(timeouts={"request": "1ms"})]),
     "between 100ms and 24h"),
    ("retry", _route([_rule(retry={"attempts": 10, "when": ["Timeout"]})]), None),
    ("too many attempts", _route([_rule(retry={"attempts": 11})]), "attempts"),
    ("unknown retry reason", _route([_rule(retry={"when": ["Always"]})]), "when"),
    ("the same retry reason twice",
     _route([_rule(retry={"when": ["Timeout", "Timeout"]})]), "uplicate"),
    # ---- AIRoute: what rules do besides
    ("redirect", _answer(redirect={"scheme": "https"}), None),
    ("redirect with everything", _answer(redirect={
        "scheme": "http", "hostname": "a.org", "port": 65535, "statusCode": 308,
        "path": {"type": "ReplacePrefixMatch", "value": "/a/%2F~"}}), None),
    ("fixed answer", _answer(fixedResponse={"status": 404, "body": "x" * 4096}), None),
    ("no answer", _answer(), "exactly one of backends, redirect and fixedResponse"),
    ("two answers", _answer(redirect={"port": 81}, fixedResponse={"status": 200}),
     "exactly one of backends, redirect and fixedResponse"),
    ("redirect beside backends", _does(redirect={"port": 81}),
     "exactly one of backends, redirect and fixedResponse"),
    ("redirect to nowhere", _answer(redirect={"statusCode": 301}), "where it came from"),
    ("redirect with another status", _answer(redirect={"port": 81, "statusCode": 304}),
     "must be 301, 302"),
    ("redirect to a path with a gap", _answer(redirect={
        "path": {"type": "ReplaceFullPath", "value": "/a//b"}}), "segments"),
    ("redirect to a path with a query", _answer(redirect={
        "path": {"type": "ReplaceFullPath", "value": "/a?b"}}), "path"),
    ("redirect with a mirror", _answer(redirect={"port": 81}, mirror={"name": "llm"}),
     "need backends"),
    ("redirect with empty fallbacks", _answer(redirect={"port": 81}, fallbacks=[]), None),
    ("redirect with header fields and CORS", _answer(
        redirect={"port": 81}, responseHeaders={"remove": ["a"]},
        cors={"allowOrigins": ["*"]}), None),
    ("fixed answer without a status", _answer(fixedResponse={"body": "x"}), "status"),
    ("fixed answer of an interim status", _answer(fixedResponse={"status": 100}), "status"),
    ("fixed answer that has no body", _answer(fixedResponse={"status": 204, "body": ""}),
     "has no body"),
    ("fixed answer that is too long",
     _answer(fixedResponse={"status": 200, "body": "x" * 4097}), "body"),
    ("path rewrite", _does(pathRewrite={"type": "ReplaceFullPath", "value": "/v1"}), None),
    ("path rewrite without a type", _does(pathRewrite={"value": "/v1"}), "type"),
    ("header fields", _does(
        requestHeaders={"set": [{"name": "X-A", "value": "b c"}], "remove": ["x-a", "X-B"]},
        responseHeaders={"add": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]}),
     None),
    ("no header fields", _does(requestHeaders={}), "requestHeaders"),
    *[("header field %s" % name, _does(requestHeaders={"set": [{"name": name, "value": "x"}]}),
       "cannot be changed here")
      for name in ("Host", "TRANSFER-ENCODING", "content-length", "X-Forwarded-Anything", "te",
                   "Connection", "forwarded", "x-request-id", "Traceparent")],
    ("header field to remove that is ours", _does(responseHeaders={"remove": ["Keep-Alive"]}),
     "cannot be changed here"),
    ("header field set twice", _does(requestHeaders={"set": [{"name": "a", "value": "1"},
                                                             {"name": "a", "value": "2"}]}),
     "uplicate"),
    ("header field with a line end",
     _does(responseHeaders={"add": [{"name": "a", "value": "x\r\ny"}]}), "value"),
    ("CORS", _cors(), None),
    ("CORS for everybody", _does(cors={"allowOrigins": ["*"]}), None),
    ("CORS with credentials", _cors(allowCredentials=True, maxAge="24h"), None),
    ("CORS with credentials for everybody",
     _does(cors={"allowOrigins": ["https://a.org", "*"], "allowCredentials": True}),
     "origins by name"),
    ("CORS without origins", _does(cors={}), "allowOrigins"),
    *[("CORS for %s" % origin, _does(cors={"allowOrigins": [origin]}), None)
      for origin in ("http://localhost:3000", "https://*.a.org:8443", "http://[::1]:80",
                     "chrome-extension://abcdef")],
    *[("CORS for %s" % origin, _does(cors={"allowOrigins": [origin]}), "allowOrigins")
      for origin in ("https://a.org/", "a.org", "https://A.org", "https://a.*.org", "null",
                     "https://*", "https://a.org:0")],
    ("CORS for a short time", _cors(maxAge="999ms"), "between 1s and 24h"),
    ("CORS for a method in lower case", _cors(allowMethods=["get"]), "allowMethods"),
    ("session by header", _does(sessionAffinity={"header": "X-Session"}), None),
    ("session by cookie", _does(sessionAffinity={"cookie": {}}), None),
    ("session by cookie with everything", _does(sessionAffinity={"cookie": {
        "name": "s", "ttl": "720h", "path": "/a", "sameSite": "None"}}), None),
    ("session by both", _does(sessionAffinity={"header": "a", "cookie": {}}),
     "exactly one of header and cookie"),
    ("session by nothing", _does(sessionAffinity={}), "exactly one of header and cookie"),
    ("cookie with a semicolon", _does(sessionAffinity={"cookie": {"path": "/;a"}}), "path"),
    ("cookie for too long", _does(sessionAffinity={"cookie": {"ttl": "721h"}}),
     "between 1s and 720h"),
    ("mirror", _does(mirror={"name": "next", "percent": 0, "model": "m"}), None),
    ("mirror of more than all", _does(mirror={"name": "next", "percent": 101}), "percent"),
    ("retry budget", _does(retry={"perTryTimeout": "5s",
                                  "budget": {"percent": 0, "minConcurrency": 1000}}), None),
    ("retry budget beyond all", _does(retry={"budget": {"percent": 101}}), "percent"),
    ("short tries", _does(retry={"perTryTimeout": "99ms"}), "between 100ms and 24h"),
    ("hedge", _does(hedge={"delay": "2s"}), None),
    ("hedge at once", _does(hedge={"delay": "9ms"}), "between 10ms and 1h"),
    ("hedge at no time", _does(hedge={}), "delay"),
    ("first token of all tries", _does(timeouts={"firstToken": "25h"}),
     "between 100ms and 24h"),
    ("rules as an object", _route({"main": {}}), "rules"),
]
