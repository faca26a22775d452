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
    struct map identities; // "namespace/name" of a Secret → tls_identity
    struct map trusts;     // "kind namespace/name key" → tls_trust
    struct map tls_claims; // host → tls_claim, see compile/tls.c
    size_t sequence; // counts matches in the order of age, for ties
    bool failed;     // out of memory: the whole result is void
};

// A copy in the snapshot's arena, or in the findings'. On failure sets build->failed; empty then.
struct slice build_keep(struct build *build, struct slice text);
struct slice build_say(struct build *build, const char *fmt, ...) PRINTF_LIKE(2, 3);
void *build_alloc(struct build *build, size_t n, size_t size); // zeroed, snapshot's arena

// What an object refers to in vain, and what may soon be in vain. Notes of one reason are one text.
enum reference_note {
    NOTE_BACKEND_NOT_FOUND, // in this order the first gives the condition its reason
    NOTE_BACKEND_INVALID,
    NOTE_CERTIFICATE_INVALID,
    NOTE_CERTIFICATE_NOT_FOUND,
    NOTE_WARNING, // nothing is wrong yet
    NOTE_COUNT,
};
struct references {
    struct {
        struct strbuf text;
        struct slice path; // of the first
    } notes[NOTE_COUNT];
};
void references_init(struct references *references);
void references_fini(struct references *references);
// `path`: see struct verdict; of the findings' arena.
void references_note(struct build *build, struct references *references, enum reference_note kind,
                     struct slice path, const char *fmt, ...) PRINTF_LIKE(5, 6);
struct verdict references_judge(struct build *build, struct references *references);

// Adds what the rule takes to its hosts, unless an older rule has it. Sets *ret_won when anything
// was added; each match that was lost is told to `lost` (cut at its maximum), *ret_lost counts.
struct match_outcome {
    size_t won;
    size_t lost;
    const struct airoute_match *first_lost; // NULL also when the rule has no matches
    struct strbuf text; // what was lost, to whom
    size_t tls_lost;    // hosts whose TLS is another route's
};
void build_matches(struct build *build, const struct object *route,
                   const struct airoute_rule *rule, struct snap_rule *compiled,
                   struct match_outcome *outcome);

// Lower case, in the snapshot's arena; ptr NULL on failure.
struct slice build_lower(struct build *build, struct slice text);

// What the rule does with requests besides choosing a backend; see compile/filters.c.
void build_filters(struct build *build, const struct object *route,
                   const struct airoute_rule *rule, struct snap_rule *out);

// Hosts × matches × models of a route.
size_t build_count_matches(const struct airoute_spec *spec);

size_t build_count_regexes(const struct airoute_spec *spec);

// Compiles the pattern, once per snapshot. NULL with *err when it is wrong.
struct snap_regex *build_regex(struct build *build, struct slice pattern, struct error *err);

// Moves the hosts into the snapshot, entries in order of precedence.
void build_finish_hosts(struct build *build);
void build_fini(struct build *build);
