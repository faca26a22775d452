// The index of a host's entries changes what a match costs, and nothing else: asked at random, it
// gives what a walk over all entries gives.
#include "snapshot/match_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "snapshot/snapshot.h"

#define DEEP "/1/2/3/4/5/6/7/8/9"

static const char *const paths[] = {
    "",        "/",        "/a",     "/a/",  "/a/b",         "/a//b", "/a/b/c", "/ab",
    "/b",      "//",       DEEP,     DEEP "/", DEEP "/a",    "*",     "/a/b/",  "/1/2/3/4/5/6/7/8",
};
static const char *const models[] = {"m0", "m1", "m2", "m3", "m", "", "x"};
static const char *const methods[] = {"", "GET", "POST"};

static struct rand_state rng;
static struct snap_model known[8];
static struct snap_backend backends[6];

static unsigned below(unsigned n)
{
    return (unsigned)rand_below(&rng, n);
}

#define ONE_OF(list) slice_of_str((list)[below(ARRAY_LEN(list))])

// A copy of the very size, so that a sanitizer sees who reads beyond it.
static struct slice own(struct arena *arena, struct slice s)
{
    return arena_dup(arena, s);
}

static void make_backends(void)
{
    static struct slice aliases[] = {{"m3", 2}, {"x", 1}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        known[i] = (struct snap_model){.name = slice_of_str(models[i % 4]),
                                       .upstream_name = SLICE("u"),
                                       .aliases = aliases,
                                       .alias_count = i % 3};
    }
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        backends[i] = (struct snap_backend){
            .key = SLICE("b"), .models = known + i, .model_count = i % 3};
    }
}

static struct snap_rule *make_rule(struct arena *arena)
{
    struct snap_rule *rule = ARENA_NEW(arena, struct snap_rule);
    rule->target_count = below(3);
    rule->targets = ARENA_ARRAY(arena, struct snap_target, 3);
    for (size_t i = 0; i < rule->target_count; i++) {
        rule->targets[i] = (struct snap_target){
            .backend = below(5) != 0 ? &backends[below(ARRAY_LEN(backends))] : NULL,
            .weight = below(3),
            .model = below(6) == 0 ? SLICE("m9") : SLICE_NULL,
        };
    }
    return rule;
}

static struct snap_match *make_match(struct snapshot *snapshot)
{
    struct arena *arena = &snapshot->arena;
    struct snap_match *match = ARENA_NEW(arena, struct snap_match);
    match->has_path = below(8) != 0;
    match->path.type = below(2) != 0 ? SNAP_MATCH_EXACT : SNAP_MATCH_PREFIX;
    match->path.value = own(arena, ONE_OF(paths));
    match->method = ONE_OF(methods);
    match->model_count = below(4);
    match->models = ARENA_ARRAY(arena, struct snap_text_match, 4);
    for (size_t i = 0; i < match->model_count; i++) {
        struct snap_text_match *model = &match->models[i];
        model->value = own(arena, ONE_OF(models));
        model->type = below(6) != 0 ? SNAP_MATCH_EXACT : SNAP_MATCH_PREFIX;
        struct error err;
        if (below(12) == 0) {
            model->type = SNAP_MATCH_REGEX;
            model->regex = snapshot_add_regex(snapshot, SLICE("m[01]"), &err);
            assert_non_null(model->regex);
        }
    }
    return match;
}

static void compare(struct snapshot *indexed, struct snapshot *plain)
{
    char exact[64];
    struct slice path = ONE_OF(paths);
    memcpy(exact, path.ptr, path.len);
    struct route_query query = {.host = SLICE("h"),
                                .path = slice_of(exact, path.len),
                                .method = ONE_OF(methods),
                                .model = below(5) != 0 ? ONE_OF(models) : SLICE_NULL};
    enum route_miss miss[2];
    const struct snap_rule *rules[2] = {snapshot_match(indexed, &query, &miss[0]),
                                        snapshot_match(plain, &query, &miss[1])};
    if (rules[0] != rules[1] || miss[0] != miss[1]) {
        fail_msg("%.*s, model %.*s: another rule, or miss %d instead of %d", SLICE_FMT(path),
                 SLICE_FMT(query.model), (int)miss[0], (int)miss[1]);
    }
    rules[0] = snapshot_match_head(indexed, &query, &miss[0]);
    rules[1] = snapshot_match_head(plain, &query, &miss[1]);
    if (rules[0] != rules[1] || miss[0] != miss[1]) {
        fail_msg("%.*s: another first rule", SLICE_FMT(path));
    }
}

static void finish(struct snapshot *snapshot, struct snap_host *host)
{
    snapshot->hosts = host;
    snapshot->host_count = 1;
    assert_int_equal(snapshot_finish(snapshot), 0);
}

static void an_index_finds_what_a_walk_finds(void **state)
{
    (void)state;
    rng.state = 1;
    make_backends();
    for (int round = 0; round < 300; round++) {
        struct snapshot *indexed = snapshot_new();
        struct snapshot *plain = snapshot_new();
        assert_true(indexed != NULL && plain != NULL);
        size_t count = 32 + below(round % 10 == 0 ? 300 : 30);
        struct snap_entry *entries = ARENA_ARRAY(&indexed->arena, struct snap_entry, count);
        for (size_t i = 0; i < count; i++) {
            entries[i] = (struct snap_entry){make_match(indexed), make_rule(&indexed->arena)};
        }
        struct snap_host hosts[2] = {
            {.name = SLICE("h"), .entries = entries, .entry_count = count},
            {.name = SLICE("h"), .entries = entries, .entry_count = count}};
        finish(indexed, &hosts[0]);
        finish(plain, &hosts[1]);
        assert_non_null(hosts[0].index);
        match_index_free(hosts[1].index);
        hosts[1].index = NULL;
        for (int i = 0; i < 200; i++) {
            compare(indexed, plain);
        }
        snapshot_unref(plain);
        snapshot_unref(indexed);
    }
}

static void a_host_of_few_entries_has_none(void **state)
{
    (void)state;
    struct snap_entry entries[31] = {{NULL, NULL}};
    struct snap_host host = {.name = SLICE("h"), .entries = entries, .entry_count = 31};
    struct match_index *index = (struct match_index *)1;
    assert_int_equal(match_index_new(&host, &index), 0);
    assert_null(index);
    match_index_free(index);
}

static void only_entries_that_can_hold_are_visited(void **state)
{
    (void)state;
    static struct snap_rule rule;
    struct snap_match matches[40];
    struct snap_text_match texts[40];
    struct snap_entry entries[40];
    char names[40][8];
    for (size_t i = 0; i < 40; i++) {
        int n = snprintf(names[i], sizeof(names[i]), "m%zu", i / 2);
        texts[i] = (struct snap_text_match){.value = slice_of(names[i], (size_t)n)};
        matches[i] = (struct snap_match){
            .models = &texts[i],
            .model_count = 1,
            .has_path = true,
            .path = {.type = SNAP_MATCH_PREFIX, .value = SLICE("/v1/")},
        };
        entries[i] = (struct snap_entry){&matches[i], &rule};
    }
    matches[39].path.value = SLICE("/v2");
    struct snap_host host = {.name = SLICE("h"), .entries = entries, .entry_count = 40};
    assert_int_equal(match_index_new(&host, &host.index), 0);
    struct match_cursor cursor;
    uint32_t entry;
    match_cursor_init(&cursor, &host, SLICE("/v1/a/b/c"), MATCH_REACH_MODEL, SLICE("m7"));
    assert_true(match_cursor_next(&cursor, &entry) && entry == 14);
    assert_true(match_cursor_next(&cursor, &entry) && entry == 15);
    assert_false(match_cursor_next(&cursor, &entry));
    match_cursor_init(&cursor, &host, SLICE("/v1"), MATCH_REACH_MODEL, SLICE("m19"));
    assert_true(match_cursor_next(&cursor, &entry) && entry == 38);
    assert_false(match_cursor_next(&cursor, &entry));
    match_cursor_init(&cursor, &host, SLICE("/v1"), MATCH_REACH_NO_MODEL, SLICE_NULL);
    assert_false(match_cursor_next(&cursor, &entry));
    match_cursor_init(&cursor, &host, SLICE("/v2/x"), MATCH_REACH_ALL, SLICE_NULL);
    assert_true(match_cursor_next(&cursor, &entry) && entry == 39);
    assert_false(match_cursor_next(&cursor, &entry));
    match_index_free(host.index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_finds_what_a_walk_finds),
        cmocka_unit_test(a_host_of_few_entries_has_none),
        cmocka_unit_test(only_entries_that_can_hold_are_visited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
