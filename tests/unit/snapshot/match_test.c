// Snapshots made by hand, asked: who takes a request, is its body needed, which target, which
// model.
#include "snapshot/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct snap_model small = {.name = {"small", 5}, .upstream_name = {"org/small-7b", 12}};
static struct slice big_aliases[] = {{"large", 5}, {"best", 4}};
static struct snap_model big = {
    .name = {"big", 3}, .upstream_name = {"big", 3}, .aliases = big_aliases, .alias_count = 2};

static struct snap_backend any_model = {.key = {"ns/any", 6}};
static struct snap_backend has_small = {
    .key = {"ns/small", 8}, .models = &small, .model_count = 1};
static struct snap_backend has_big = {.key = {"ns/big", 6}, .models = &big, .model_count = 1};

static struct snap_target to_any[] = {{.backend = &any_model, .weight = 1}};
static struct snap_target to_small[] = {{.backend = &has_small, .weight = 1}};
static struct snap_target to_big[] = {{.backend = &has_big, .weight = 1}};
static struct snap_target to_nothing[] = {{.backend = NULL, .weight = 1}};
static struct snap_target to_big_unused_small[] = {{.backend = &has_big, .weight = 1},
                                                   {.backend = &has_small, .weight = 0}};

static const struct snap_match everything;
static const struct snap_match under_v1 = {
    .has_path = true, .path = {.type = SNAP_MATCH_PREFIX, .value = {"/v1", 3}}};

#define RULE(title, list)                                                                  \
    {                                                                                      \
        .name = {title, sizeof(title) - 1}, .targets = list, .target_count = ARRAY_LEN(list), \
        .total_weight = 1                                                                  \
    }

static struct snapshot *make(struct snap_host *hosts, size_t count)
{
    struct snapshot *snapshot = snapshot_new();
    assert_non_null(snapshot);
    snapshot->hosts = hosts;
    snapshot->host_count = count;
    assert_int_equal(snapshot_finish(snapshot), 0);
    return snapshot;
}

static struct route_query query(const char *host, const char *path, const char *model)
{
    return (struct route_query){.host = slice_of_str(host),
                                .path = slice_of_str(path),
                                .method = SLICE("POST"),
                                .model = slice_of_str(model)};
}

static void ask(const struct snapshot *snapshot, const char *host, const char *path,
                const char *model, const char *wanted)
{
    struct route_query q = query(host, path, model);
    enum route_miss miss = ROUTE_MISS_NONE;
    const struct snap_rule *rule = snapshot_match(snapshot, &q, &miss);
    static const char *const misses[] = {"?", "no host", "no path", "no model"};
    struct slice got = rule != NULL ? rule->name : slice_of_str(misses[miss]);
    if (!slice_eq_str(got, wanted) || (rule != NULL) != (miss == ROUTE_MISS_NONE)) {
        fail_msg("%s%s %s: \"%.*s\" instead of \"%s\"", host, path, model != NULL ? model : "-",
                 SLICE_FMT(got), wanted);
    }
}

static void the_nearest_host_that_holds_wins(void **state)
{
    (void)state;
    static struct snap_rule exact = RULE("exact", to_any), near = RULE("near", to_any),
                            far = RULE("far", to_any), any = RULE("any", to_any);
    struct snap_entry of_exact[] = {{&under_v1, &exact}}, of_near[] = {{&everything, &near}},
                      of_far[] = {{&everything, &far}}, of_any[] = {{&everything, &any}};
    struct snap_host hosts[] = {{SLICE(""), of_any, 1, NULL},
                                {SLICE("*.example.com"), of_far, 1, NULL},
                                {SLICE("*.eu.example.com"), of_near, 1, NULL},
                                {SLICE("api.eu.example.com"), of_exact, 1, NULL}};
    struct snapshot *snapshot = make(hosts, ARRAY_LEN(hosts));
    ask(snapshot, "api.eu.example.com", "/v1/x", NULL, "exact");
    ask(snapshot, "api.eu.example.com", "/other", NULL, "near"); // the exact one does not take it
    ask(snapshot, "b.eu.example.com", "/v1", NULL, "near");
    ask(snapshot, "a.b.eu.example.com", "/v1", NULL, "near");
    ask(snapshot, "eu.example.com", "/v1", NULL, "far"); // a wildcard wants one more label
    ask(snapshot, "example.com", "/v1", NULL, "any");
    ask(snapshot, "notexample.com", "/v1", NULL, "any");
    ask(snapshot, "", "/v1", NULL, "any");
    char name[3000]; // longer than any name can be: no wildcard is looked up for it whole
    memset(name, 'a', sizeof(name));
    memcpy(name + sizeof(name) - 13, ".example.com", 13);
    ask(snapshot, name, "/v1", NULL, "far");
    snapshot_unref(snapshot);

    struct snapshot *without_any = make(hosts + 1, ARRAY_LEN(hosts) - 1);
    ask(without_any, "example.org", "/v1", NULL, "no host");
    ask(without_any, "", "/v1", NULL, "no host");
    snapshot_unref(without_any);
}

static void a_path_prefix_ends_at_a_segment(void **state)
{
    (void)state;
    static const struct {
        const char *prefix, *path;
        bool matches;
    } rows[] = {
        {"/v1", "/v1", true},   {"/v1", "/v1/", true},   {"/v1", "/v1/x", true},
        {"/v1", "/v10", false}, {"/v1", "/v", false},    {"/v1/", "/v1", true},
        {"/v1/", "/v1/x", true}, {"/v1/", "/v1x", false}, {"/", "/", true},
        {"/", "/x/y", true},    {"/v1", "/V1", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct snap_text_match match = {SNAP_MATCH_PREFIX, slice_of_str(rows[i].prefix), NULL};
        if (snap_path_matches(&match, slice_of_str(rows[i].path)) != rows[i].matches) {
            fail_msg("prefix %s of %s", rows[i].prefix, rows[i].path);
        }
    }
    struct snap_text_match exact = {SNAP_MATCH_EXACT, SLICE("/v1"), NULL};
    assert_true(snap_path_matches(&exact, SLICE("/v1")));
    assert_false(snap_path_matches(&exact, SLICE("/v1/")));
}

static void models_decide_among_entries_of_a_path(void **state)
{
    (void)state;
    static struct snap_rule listed = RULE("listed", to_any), smalls = RULE("smalls", to_small),
                            bigs = RULE("bigs", to_big_unused_small);
    static struct snap_text_match names[] = {
        {.type = SNAP_MATCH_EXACT, .value = {"special", 7}},
        {.type = SNAP_MATCH_PREFIX, .value = {"gpt-", 4}},
    };
    struct snap_match by_name = {.models = names, .model_count = 2};
    struct snap_entry entries[] = {{&by_name, &listed}, {&under_v1, &smalls}, {&under_v1, &bigs}};
    struct snap_host host = {SLICE(""), entries, ARRAY_LEN(entries), NULL};
    struct snapshot *snapshot = make(&host, 1);
    ask(snapshot, "x", "/other", "special", "listed");
    ask(snapshot, "x", "/other", "gpt-9", "listed");
    ask(snapshot, "x", "/other", "gpt", "no model");
    ask(snapshot, "x", "/other", NULL, "no model");
    ask(snapshot, "x", "/v1", "small", "smalls");
    ask(snapshot, "x", "/v1", "best", "bigs"); // an alias
    ask(snapshot, "x", "/v1", "Small", "no model");
    ask(snapshot, "x", "/v1", NULL, "smalls"); // no model named: the first that takes the path
    snapshot_unref(snapshot);
}

static void a_rule_whose_backends_say_nothing_takes_any_model(void **state)
{
    (void)state;
    static struct snap_target renames[] = {
        {.backend = &has_small, .weight = 1, .model = {"small", 5}}};
    static struct snap_rule lost = RULE("lost", to_nothing), renamed = RULE("renamed", renames);
    struct snap_entry of_lost[] = {{&everything, &lost}}, of_renamed[] = {{&everything, &renamed}};
    struct snap_host hosts[] = {{SLICE("a"), of_lost, 1, NULL}, {SLICE("b"), of_renamed, 1, NULL}};
    struct snapshot *snapshot = make(hosts, 2);
    ask(snapshot, "a", "/", "whatever", "lost");
    ask(snapshot, "b", "/", "whatever", "renamed");
    snapshot_unref(snapshot);
}

static void the_body_is_needed_only_where_it_can_matter(void **state)
{
    (void)state;
    static struct snap_rule plain = RULE("plain", to_any), models = RULE("models", to_small),
                            override = RULE("override", to_any), rescue = RULE("rescue", to_any);
    static struct snap_target renames[] = {{.backend = &any_model, .model = {"m", 1}}};
    override.targets = renames;
    rescue.fallbacks = to_big;
    rescue.fallback_count = 1;
    struct snap_match here = {.has_path = true,
                              .path = {.type = SNAP_MATCH_PREFIX, .value = SLICE("/files")}};
    struct snap_entry of_a[] = {{&here, &plain}, {&everything, &models}};
    struct snap_entry of_b[] = {{&everything, &override}};
    struct snap_entry of_c[] = {{&everything, &rescue}};
    struct snap_entry of_d[] = {{&everything, &plain}};
    struct snap_host hosts[] = {{SLICE("a"), of_a, 2, NULL},
                                {SLICE("b"), of_b, 1, NULL},
                                {SLICE("c"), of_c, 1, NULL},
                                {SLICE("*.d"), of_d, 1, NULL},
                                {SLICE(""), of_b, 1, NULL}};
    struct snapshot *snapshot = make(hosts, ARRAY_LEN(hosts));
    static const struct {
        const char *host, *path;
        bool needed;
    } rows[] = {
        {"a", "/files/1", false}, // the first entry takes it whatever it says
        {"a", "/v1", true},       // a backend lists its models
        {"b", "/", true},         // the model is replaced
        {"c", "/", true},         // it would be mapped by a fallback
        {"x.d", "/", false},      // what stands under any host is not reached
        {"e", "/", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct route_query q = query(rows[i].host, rows[i].path, NULL);
        enum route_miss miss;
        const struct snap_rule *rule = snapshot_match_head(snapshot, &q, &miss);
        if (rule == NULL || rule->needs_body != rows[i].needed || miss != ROUTE_MISS_NONE) {
            fail_msg("%s%s", rows[i].host, rows[i].path);
        }
    }
    snapshot_unref(snapshot);
}

static void method_and_headers_must_hold_too(void **state)
{
    (void)state;
    static struct snap_rule gold = RULE("gold", to_any), rest = RULE("rest", to_any);
    static struct snap_header_match tier[] = {
        {.name = {"x-tier", 6}, .value = {.type = SNAP_MATCH_EXACT, .value = {"gold", 4}}}};
    struct snap_match posts = {.method = SLICE("POST"), .headers = tier, .header_count = 1};
    struct snap_entry entries[] = {{&posts, &gold}, {&everything, &rest}};
    struct snap_host host = {SLICE(""), entries, 2, NULL};
    struct snapshot *snapshot = make(&host, 1);
    struct http_header headers[] = {{.name = SLICE("X-Tier"), .value = SLICE("gold")}};
    struct route_query q = query("x", "/", NULL);
    enum route_miss miss;
    assert_ptr_equal(snapshot_match(snapshot, &q, &miss), &rest);
    q.headers = headers;
    q.header_count = 1;
    assert_ptr_equal(snapshot_match(snapshot, &q, &miss), &gold);
    q.method = SLICE("post");
    assert_ptr_equal(snapshot_match(snapshot, &q, &miss), &rest);
    q.method = SLICE("POST");
    headers[0].value = SLICE("golden");
    assert_ptr_equal(snapshot_match(snapshot, &q, &miss), &rest);
    snapshot_unref(snapshot);
}

static void targets_are_drawn_by_weight(void **state)
{
    (void)state;
    struct snap_target targets[] = {{.weight = 0}, {.weight = 95}, {.weight = 0}, {.weight = 5},
                                    {.weight = 0}};
    struct snap_rule rule = {.targets = targets, .target_count = 5, .total_weight = 100};
    unsigned counts[5] = {0};
    uint64_t step = UINT64_MAX / 10000;
    for (unsigned i = 0; i < 10000; i++) {
        counts[snapshot_draw_target(&rule, i * step) - targets]++;
    }
    assert_in_range(counts[1], 9499, 9501);
    assert_int_equal(counts[1] + counts[3], 10000);
    assert_ptr_equal(snapshot_draw_target(&rule, 0), &targets[1]);
    assert_ptr_equal(snapshot_draw_target(&rule, UINT64_MAX), &targets[3]);

    // Weights whose sum does not fit 32 bits.
    struct snap_target heavy[] = {{.weight = UINT32_MAX}, {.weight = UINT32_MAX}};
    struct snap_rule wide = {
        .targets = heavy, .target_count = 2, .total_weight = 2 * (uint64_t)UINT32_MAX};
    assert_ptr_equal(snapshot_draw_target(&wide, UINT64_MAX / 2 - 2), &heavy[0]);
    assert_ptr_equal(snapshot_draw_target(&wide, UINT64_MAX), &heavy[1]);

    struct snap_rule none = {.targets = targets, .target_count = 1};
    assert_null(snapshot_draw_target(&none, 7));
}

static void names_go_upstream_as_the_server_knows_them(void **state)
{
    (void)state;
    struct snap_target plain = {.backend = &has_small}, other = {.backend = &has_big},
                       over = {.backend = &has_small, .model = SLICE("small")},
                       foreign = {.backend = &has_small, .model = SLICE("rc1")}, lost = {0};
    static const struct {
        const char *asked, *sent;
    } rows[] = {{"small", "org/small-7b"}, {"unlisted", "unlisted"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(slice_eq_str(snapshot_upstream_model(&plain, slice_of_str(rows[i].asked)),
                                 rows[i].sent));
    }
    assert_true(slice_eq_str(snapshot_upstream_model(&other, SLICE("best")), "big"));
    assert_true(slice_eq_str(snapshot_upstream_model(&over, SLICE("x")), "org/small-7b"));
    assert_true(slice_eq_str(snapshot_upstream_model(&foreign, SLICE("small")), "rc1"));
    assert_true(slice_eq_str(snapshot_upstream_model(&lost, SLICE("x")), "x"));
}

static void append_name(struct slice model, void *arg)
{
    char *text = arg;
    size_t len = strlen(text);
    snprintf(text + len, 200 - len, "%.*s ", SLICE_FMT(model));
}

static void every_model_of_a_host_is_listed_once(void **state)
{
    (void)state;
    static struct snap_rule both = RULE("both", to_small), again = RULE("again", to_big),
                            named = RULE("named", to_any);
    static struct snap_text_match names[] = {{.type = SNAP_MATCH_EXACT, .value = {"big", 3}},
                                             {.type = SNAP_MATCH_PREFIX, .value = {"ft-", 3}}};
    struct snap_match by_name = {.models = names, .model_count = 2};
    struct snap_entry of_a[] = {{&under_v1, &both}, {&by_name, &named}};
    struct snap_entry of_any[] = {{&everything, &again}, {&everything, &both}};
    struct snap_host hosts[] = {{SLICE("a"), of_a, 2, NULL}, {SLICE(""), of_any, 2, NULL}};
    struct snapshot *snapshot = make(hosts, 2);
    char text[200] = "";
    assert_int_equal(snapshot_each_model(snapshot, SLICE("a"), NULL, append_name, text), 0);
    assert_string_equal(text, "small big large best ");
    text[0] = '\0';
    assert_int_equal(snapshot_each_model(snapshot, SLICE("b"), NULL, append_name, text), 0);
    assert_string_equal(text, "big large best small ");
    snapshot_unref(snapshot);
}

static void models_of_guarded_rules_are_for_those_who_are_let_in(void **state)
{
    (void)state;
    static const struct tls_trust trust = {.digest = {1}};
    static const struct snap_client_auth auth = {.is_required = true, .trust = &trust};
    static struct snap_rule free = RULE("free", to_small);
    struct snap_rule guarded = RULE("guarded", to_big);
    guarded.client_auth = &auth;
    guarded.client_auth_count = 1;
    struct snap_entry entries[] = {{&under_v1, &guarded}, {&everything, &free}};
    struct snap_host hosts[] = {{SLICE("a"), entries, 2, NULL}};
    struct snapshot *snapshot = make(hosts, 1);
    const struct {
        struct snap_client client;
        const char *wanted;
    } rows[] = {
        {{.is_tls = false}, "small "},
        {{.is_tls = true}, "small "},
        {{.is_tls = true, .is_verified = true, .trust_digest = {2}}, "small "},
        {{.is_tls = true, .is_verified = true, .trust_digest = {1}}, "big large best small "},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[200] = "";
        assert_int_equal(snapshot_each_model(snapshot, SLICE("a"), &rows[i].client, append_name,
                                             text), 0);
        assert_string_equal(text, rows[i].wanted);
    }
    snapshot_unref(snapshot);
}

static void what_needs_no_rule_comes_the_way_of_the_host(void **state)
{
    (void)state;
    static struct snap_rule first = RULE("first", to_small), second = RULE("second", to_big);
    static const struct snap_match chat = {
        .has_path = true, .path = {.type = SNAP_MATCH_EXACT, .value = {"/chat", 5}}};
    struct snap_entry of_a[] = {{&chat, &first}, {&under_v1, &second}};
    struct snap_entry of_any[] = {{&chat, &first}};
    struct snap_host hosts[] = {{SLICE("a"), of_a, 2, NULL}, {SLICE(""), of_any, 1, NULL}};
    struct snapshot *snapshot = make(hosts, 2);
    const struct route_query matched = query("a", "/v1/models", "");
    const struct route_query other = query("a", "/v2", "");
    const struct route_query elsewhere = query("b", "/v1/models", "");
    assert_ptr_equal(snapshot_match_way(snapshot, &matched), &second);
    assert_ptr_equal(snapshot_match_way(snapshot, &other), &first);
    assert_ptr_equal(snapshot_match_way(snapshot, &elsewhere), &first);
    snapshot_unref(snapshot);
    snapshot = make(hosts, 1);
    assert_null(snapshot_match_way(snapshot, &elsewhere));
    snapshot_unref(snapshot);
}

static const struct snap_match post_v1 = {
    .has_path = true,
    .path = {.type = SNAP_MATCH_PREFIX, .value = {"/v1", 3}},
    .method = {"POST", 4}};
static struct snap_text_match small_only = {.type = SNAP_MATCH_EXACT, .value = {"small", 5}};
static const struct snap_match of_small = {.models = &small_only, .model_count = 1};

static const struct cors_policy *ask_cors(const struct snapshot *snapshot, const char *path,
                                          const char *method, const char *origin)
{
    const struct route_query q = {.host = SLICE("any"),
                                  .path = slice_of_str(path),
                                  .method = slice_of_str(method)};
    return snapshot_match_cors(snapshot, &q, slice_of_str(origin));
}

static void a_preflight_finds_the_first_rule_that_allows_its_origin(void **state)
{
    (void)state;
    static struct cors_origin origins[2] = {{.head = SLICE("https://one")},
                                            {.head = SLICE("https://two")}};
    static struct cors_policy one = {.origins = &origins[0], .origin_count = 1};
    static struct cors_policy two = {.origins = &origins[1], .origin_count = 1};
    static struct snap_rule posts = RULE("posts", to_big), smalls = RULE("smalls", to_any),
                            rest = RULE("rest", to_any);
    posts.cors = &one;
    smalls.cors = &two;
    struct snap_entry entries[] = {
        {&post_v1, &posts}, {&of_small, &smalls}, {&everything, &rest}};
    struct snap_host host = {.name = SLICE(""), .entries = entries, .entry_count = 3};
    struct snapshot *snapshot = make(&host, 1);
    assert_true(snapshot->has_cors);
    assert_ptr_equal(ask_cors(snapshot, "/v1/x", "POST", "https://one"), &one);
    assert_ptr_equal(ask_cors(snapshot, "/v1/x", "POST", "https://two"), &two); // model unknown
    assert_ptr_equal(ask_cors(snapshot, "/v1/x", "POST", "https://three"), &one);
    assert_ptr_equal(ask_cors(snapshot, "/v1/x", "GET", "https://one"), &two);
    assert_ptr_equal(ask_cors(snapshot, "/other", "POST", "https://one"), &two);
    snapshot_unref(snapshot);
    static struct snap_rule closed = RULE("closed", to_any);
    entries[0] = (struct snap_entry){&under_v1, &closed}; // takes all of /v1, and has no policy
    snapshot = make(&host, 1);
    assert_null(ask_cors(snapshot, "/v1/x", "POST", "https://two"));
    assert_ptr_equal(ask_cors(snapshot, "/other", "POST", "https://two"), &two);
    snapshot_unref(snapshot);
    posts.cors = smalls.cors = NULL;
    snapshot = make(&host, 1);
    assert_false(snapshot->has_cors);
    assert_null(ask_cors(snapshot, "/v1/x", "POST", "https://one"));
    snapshot_unref(snapshot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_host_that_holds_wins),
        cmocka_unit_test(a_path_prefix_ends_at_a_segment),
        cmocka_unit_test(models_decide_among_entries_of_a_path),
        cmocka_unit_test(a_rule_whose_backends_say_nothing_takes_any_model),
        cmocka_unit_test(the_body_is_needed_only_where_it_can_matter),
        cmocka_unit_test(method_and_headers_must_hold_too),
        cmocka_unit_test(targets_are_drawn_by_weight),
        cmocka_unit_test(names_go_upstream_as_the_server_knows_them),
        cmocka_unit_test(every_model_of_a_host_is_listed_once),
        cmocka_unit_test(models_of_guarded_rules_are_for_those_who_are_let_in),
        cmocka_unit_test(what_needs_no_rule_comes_the_way_of_the_host),
        cmocka_unit_test(a_preflight_finds_the_first_rule_that_allows_its_origin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
