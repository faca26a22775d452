"""The results: ratios first, as a table, Markdown and JSON."""

import json
import statistics


def value(rounds):
    values = [r["value"] for r in rounds]
    return min(values), statistics.median(values)


def ratio(results, case, ours, other):
    """Ours / the other's, from the least of the rounds; None when one is missing."""
    mine, theirs = results.get(case, {}).get(ours), results.get(case, {}).get(other)
    if not mine or not theirs or value(theirs)[0] <= 0:
        return None
    return value(mine)[0] / value(theirs)[0]


def rows(cases, proxies, results):
    """Header and rows of text: the case, ratios to headrace's peers, each value min (median)."""
    names = [p.name for p in proxies]
    ours = "headrace" if "headrace" in names else None
    others = [n for n in names if n != ours]
    header = ["", "unit"] + ([f"headrace / {n}" for n in others] if ours else []) + names
    out = []
    for case in cases:
        row = [case.title, case.unit.replace("us/", "µs/")]
        if ours:
            for other in others:
                r = ratio(results, case.name, ours, other)
                row.append("–" if r is None else f"{r:.2f}")
        for name in names:
            rounds = results.get(case.name, {}).get(name)
            if not rounds:
                row.append("–")
            elif len(rounds) == 1:
                row.append(f"{rounds[0]['value']:.1f}")
            else:
                row.append("{:.1f} ({:.1f})".format(*value(rounds)))
        out.append(row)
    return header, out


def text_table(header, body):
    widths = [max(len(r[i]) for r in [header] + body) for i in range(len(header))]
    lines = []
    for row in [header] + body:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown_table(header, body):
    lines = ["| " + " | ".join(header) + " |",
             "| --- | --- |" + " ---: |" * (len(header) - 2)]
    lines += ["| " + " | ".join(row) + " |" for row in body]
    return "\n".join(lines)


def details(cases, proxies, results):
    """What stands behind the numbers: rate, core busy, latency, the calls."""
    lines = []
    for case in cases:
        for proxy in proxies:
            rounds = results.get(case.name, {}).get(proxy.name)
            if not rounds:
                continue
            best = min(rounds, key=lambda r: r["value"])
            parts = []
            if "requests_per_s" in best:
                parts.append(f"{best['requests_per_s']:.0f} requests/s, user "
                             f"{best['user_share'] * 100:.0f} %")
            if "p50_us" in best:
                parts.append(f"p50 {best['p50_us']} µs, p99 {best['p99_us']} µs")
            if "direct_us" in best:
                parts.append(f"direct {best['direct_us']} µs, through {best['through_us']} µs, "
                             f"CPU {best['cpu_us']:.1f} µs a request")
            if "events_per_s" in best:
                parts.append(f"{best['events_per_s']:.0f} events/s")
            if "busy" in best:
                parts.append(f"core busy {best['busy'] * 100:.0f} %")
            if "streams" in best:
                parts.append(f"{best['streams']} streams")
            if "pause_ms" in best:
                parts.append(f"longest pause {best['pause_ms']} ms")
            if "gb_per_s" in best:
                parts.append("GB/s: " + ", ".join(f"{n} {v:g}"
                                                  for n, v in best["gb_per_s"].items()))
            if "calls" in best:
                parts.append(", ".join(f"{n} {v:g}" for n, v in best["calls"].items()))
            if "idle_kb" in best:
                parts.append(f"before {best['idle_kb'] / 1024:.1f} MB, after the streams closed "
                             f"{best['after_close_kb'] / 1024:.1f} MB")
            lines.append(f"{case.name:14} {proxy.name:9} " + "; ".join(parts))
    return "\n".join(lines)


def write(folder, cases, proxies, results, about):
    header, body = rows(cases, proxies, results)
    with open(f"{folder}/results.json", "w") as f:
        json.dump({"about": about,
                   "proxies": {p.name: {"version": p.version(), "remark": p.remark}
                               for p in proxies},
                   "cases": {c.name: {"title": c.title, "unit": c.unit,
                                      "results": results.get(c.name, {})} for c in cases}},
                  f, indent=2)
        f.write("\n")
    versions = ", ".join(f"{p.name} {p.version()}".strip() for p in proxies)
    with open(f"{folder}/results.md", "w") as f:
        f.write(markdown_table(header, body) + "\n\n")
        f.write(f"Least of {about['rounds']} interleaved rounds (median). {versions}; "
                f"{about['cpu']}, {about['kernel']}; load average "
                f"{about['load_average']:.1f}.\n")
