// Shared by the parts of the compiler; not for others.
#pragma once

#include "compile/compile.h"

struct build_host; // a host under construction

struct build {
    const struct compile_input *input;
    struct compile_result *result;
    struct snapshot *snapshot;
    struct map backends; // key → snap_backend, of the snapshot
    struct map hosts;    // name → build_host
    struct map regexes;  // pattern → snap_regex
    VEC(struct build_host *) host_list;
    size_t sequence; // counts matches in the order of age, for ties
    bool failed;     // out of memory: the whole result is void
};

// A copy in the snapshot's arena, or in the findings'. On failure sets build->failed; empty then.
struct slice build_keep(struct build *build, struct slice text);
struct slice build_say(struct build *build, const char *fmt, ...) PRINTF_LIKE(2, 3);
void *build_alloc(struct build *build, size_t n, size_t size); // zeroed, snapshot's arena

// Adds what the rule takes to its hosts, unless an older rule has it. Sets *ret_won when anything
// was added; each match that was lost is told to `lost` (cut at its maximum), *ret_lost counts.
struct match_outcome {
    size_t won;
    size_t lost;
    const struct airoute_match *first_lost; // NULL also when the rule has no matches
    struct strbuf text; // what was lost, to whom
};
void build_matches(struct build *build, const struct object *route,
                   const struct airoute_rule *rule, struct snap_rule *compiled,
                   struct match_outcome *outcome);

// Hosts × matches × models of a route.
size_t build_count_matches(const struct airoute_spec *spec);

size_t build_count_regexes(const struct airoute_spec *spec);

// Compiles the pattern, once per snapshot. NULL with *err when it is wrong.
struct snap_regex *build_regex(struct build *build, struct slice pattern, struct error *err);

// Moves the hosts into the snapshot, entries in order of precedence.
void build_finish_hosts(struct build *build);
void build_fini(struct build *build);
