// The certificate for a server name; requests that client certificates guard.
#include "snapshot/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct snapshot *snapshot_with(const char *const *names, size_t count)
{
    struct snapshot *snapshot = snapshot_new();
    assert_non_null(snapshot);
    snapshot->tls_hosts = ARENA_ARRAY(&snapshot->arena, struct tls_host, count);
    for (size_t i = 0; i < count; i++) {
        snapshot->tls_hosts[snapshot->tls_host_count++].name = slice_of_str(names[i]);
    }
    assert_int_equal(snapshot_finish(snapshot), 0);
    return snapshot;
}

static void expect_host(const struct snapshot *snapshot, const char *server_name,
                        const char *wanted)
{
    const struct tls_host *host = snapshot_tls_host(snapshot, slice_of_str(server_name));
    if (wanted == NULL) {
        assert_null(host);
    } else {
        assert_non_null(host);
        assert_true(slice_eq_str(host->name, wanted));
    }
}

static void test_own_name_then_wildcard_of_one_label_then_default(void **state)
{
    (void)state;
    const char *const names[] = {"", "*.example.com", "api.example.com"};
    struct snapshot *snapshot = snapshot_with(names, ARRAY_LEN(names));
    expect_host(snapshot, "api.example.com", "api.example.com");
    expect_host(snapshot, "other.example.com", "*.example.com");
    expect_host(snapshot, "a.b.example.com", "");
    expect_host(snapshot, "example.com", "");
    expect_host(snapshot, "com", "");
    expect_host(snapshot, "", "");
    snapshot_unref(snapshot);
}

static void test_no_certificate_is_no_answer(void **state)
{
    (void)state;
    const char *const names[] = {"*.example.com"};
    struct snapshot *snapshot = snapshot_with(names, ARRAY_LEN(names));
    char longest[300];
    memset(longest, 'a', sizeof(longest));
    memcpy(longest + 20, ".example.com", 13);
    expect_host(snapshot, longest, "*.example.com");
    longest[32] = 'a';
    longest[sizeof(longest) - 1] = '\0';
    expect_host(snapshot, longest, NULL); // longer than any name
    expect_host(snapshot, "example.org", NULL);
    expect_host(snapshot, ".example.com", NULL);
    expect_host(snapshot, "", NULL);
    snapshot_unref(snapshot);
}

static const struct tls_trust trust = {.digest = {1}};
static const struct snap_client clear = {.is_tls = false};
static const struct snap_client stranger = {.is_tls = true};
static const struct snap_client known = {
    .is_tls = true, .is_verified = true, .trust_digest = {1}};
static const struct snap_client known_elsewhere = {
    .is_tls = true, .is_verified = true, .trust_digest = {2}};

static void test_unguarded_rules_let_everybody_in(void **state)
{
    (void)state;
    const struct snap_rule rule = {0};
    assert_int_equal(snapshot_admit(&rule, SLICE("a"), &clear), SNAP_ADMIT_YES);
    assert_int_equal(snapshot_admit(&rule, SLICE("a"), &stranger), SNAP_ADMIT_YES);
}

static void test_a_guarded_host_wants_the_certificate_of_its_authorities(void **state)
{
    (void)state;
    const struct snap_client_auth auth = {.is_required = true, .trust = &trust};
    const struct snap_rule rule = {.client_auth = &auth, .client_auth_count = 1};
    struct slice host = SLICE("api.example.com");
    assert_int_equal(snapshot_admit(&rule, host, &clear), SNAP_ADMIT_NEEDS_TLS);
    assert_int_equal(snapshot_admit(&rule, host, &stranger), SNAP_ADMIT_MISDIRECTED);
    assert_int_equal(snapshot_admit(&rule, host, &known_elsewhere), SNAP_ADMIT_MISDIRECTED);
    assert_int_equal(snapshot_admit(&rule, host, &known), SNAP_ADMIT_YES);
}

static void test_missing_authorities_let_nobody_in(void **state)
{
    (void)state;
    const struct snap_client_auth auth = {.is_required = true};
    const struct snap_rule rule = {.client_auth = &auth, .client_auth_count = 1};
    const struct snap_client claims_nothing = {.is_tls = true, .is_verified = true};
    assert_int_equal(snapshot_admit(&rule, SLICE("a"), &known), SNAP_ADMIT_MISDIRECTED);
    assert_int_equal(snapshot_admit(&rule, SLICE("a"), &claims_nothing), SNAP_ADMIT_MISDIRECTED);
}

static void test_the_most_specific_host_decides(void **state)
{
    (void)state;
    const struct snap_client_auth auth[] = {
        {.host = SLICE("*.example.com"), .is_required = true, .trust = &trust},
        {.host = SLICE("open.example.com")},
        {.host = SLICE("*.open.example.com")},
    };
    const struct snap_rule rule = {.client_auth = auth, .client_auth_count = ARRAY_LEN(auth)};
    assert_int_equal(snapshot_admit(&rule, SLICE("open.example.com"), &clear), SNAP_ADMIT_YES);
    assert_int_equal(snapshot_admit(&rule, SLICE("a.open.example.com"), &clear), SNAP_ADMIT_YES);
    assert_int_equal(snapshot_admit(&rule, SLICE("a.example.com"), &clear), SNAP_ADMIT_NEEDS_TLS);
    assert_int_equal(snapshot_admit(&rule, SLICE("a.b.example.com"), &stranger),
                     SNAP_ADMIT_MISDIRECTED);
    assert_int_equal(snapshot_admit(&rule, SLICE("example.com"), &clear), SNAP_ADMIT_YES);
}

static void test_servers_are_told_of_what_their_own_authorities_verified(void **state)
{
    (void)state;
    const struct snap_client_auth auth[] = {
        {.host = SLICE("*.example.com"), .is_told = true, .trust = &trust},
        {.host = SLICE("silent.example.com"), .is_required = true, .trust = &trust},
        {.host = SLICE("lost.example.com"), .is_told = true},
    };
    const struct snap_rule rule = {.client_auth = auth, .client_auth_count = ARRAY_LEN(auth)};
    const struct snap_rule silent = {0};
    struct slice host = SLICE("a.example.com");
    assert_true(snapshot_tells_client(&rule, host, &known));
    assert_int_equal(snapshot_admit(&rule, host, &clear), SNAP_ADMIT_YES);
    assert_false(snapshot_tells_client(&rule, host, &clear));
    assert_false(snapshot_tells_client(&rule, host, &stranger));
    assert_false(snapshot_tells_client(&rule, host, &known_elsewhere));
    assert_false(snapshot_tells_client(&rule, SLICE("silent.example.com"), &known));
    assert_false(snapshot_tells_client(&rule, SLICE("lost.example.com"), &known));
    assert_false(snapshot_tells_client(&rule, SLICE("example.org"), &known));
    assert_false(snapshot_tells_client(&silent, host, &known));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_name_then_wildcard_of_one_label_then_default),
        cmocka_unit_test(test_no_certificate_is_no_answer),
        cmocka_unit_test(test_unguarded_rules_let_everybody_in),
        cmocka_unit_test(test_a_guarded_host_wants_the_certificate_of_its_authorities),
        cmocka_unit_test(test_missing_authorities_let_nobody_in),
        cmocka_unit_test(test_the_most_specific_host_decides),
        cmocka_unit_test(test_servers_are_told_of_what_their_own_authorities_verified),
    };
    return cmocka_run_group_tests_name("admit", tests, NULL, NULL);
}
