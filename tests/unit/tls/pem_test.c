// Which certificates, keys and authorities are good, and what is said of those that are not.
#include "tls/pem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/strbuf.h"
#include "tls/pems.h"

static struct arena arena;
static struct tls_leaf leaf;

static void good(const char *certificate, const char *key)
{
    struct error err = ERROR_INIT;
    arena_fini(&arena);
    arena = (struct arena){0};
    if (tls_pem_check_identity(slice_of_str(certificate), slice_of_str(key), &arena, &leaf,
                               &err) != 0) {
        fail_msg("%s", err.text);
    }
}

static void bad(const char *certificate, const char *key, const char *said)
{
    struct error err = ERROR_INIT;
    struct tls_leaf untouched = {.not_after = 7};
    assert_int_equal(tls_pem_check_identity(slice_of_str(certificate), slice_of_str(key), &arena,
                                            &untouched, &err), -EINVAL);
    assert_int_equal(untouched.not_after, 7);
    if (strstr(err.text, said) == NULL || strstr(err.text, "BEGIN") != NULL) {
        fail_msg("\"%s\" lacks \"%s\", or says too much", err.text, said);
    }
}

static void test_a_certificate_with_its_key_is_good(void **state)
{
    (void)state;
    good(PEM_API_CERTIFICATE, PEM_API_KEY);
    assert_true(leaf.not_after > leaf.not_before && leaf.not_before > 1700000000);
    assert_int_equal(leaf.name_count, 2);
    good(PEM_API_CERTIFICATE PEM_CA, PEM_API_KEY);
    assert_int_equal(leaf.name_count, 2); // of the leaf, not of the chain
    good(PEM_ED_CERTIFICATE, PEM_ED_KEY);
    assert_int_equal(leaf.name_count, 1); // an address is no name
    good("Some words before.\n" PEM_API_CERTIFICATE, PEM_CA PEM_API_KEY);
    good(PEM_EXPIRED_CERTIFICATE, PEM_EXPIRED_KEY); // its time is the caller's to judge
}

static void test_what_is_wrong_is_said(void **state)
{
    (void)state;
    bad("", PEM_API_KEY, "no certificate");
    bad("hello", PEM_API_KEY, "no certificate");
    bad(PEM_API_KEY, PEM_API_KEY, "no certificate");
    bad("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", PEM_API_KEY,
        "certificate cannot be read");
    bad("-----BEGIN CERTIFICATE-----\nAAAA\n", PEM_API_KEY, "certificate cannot be read");
    bad(PEM_API_CERTIFICATE "-----BEGIN CERTIFICATE-----\n", PEM_API_KEY, "of the chain");
    bad(PEM_API_CERTIFICATE, "", "key cannot be read");
    bad(PEM_API_CERTIFICATE, PEM_API_CERTIFICATE, "key cannot be read");
    bad(PEM_API_CERTIFICATE, PEM_API_KEY_LOCKED, "key cannot be read"); // and nobody is asked
    bad(PEM_API_CERTIFICATE, PEM_OTHER_KEY, "not that of the certificate");
    bad(PEM_API_CERTIFICATE, PEM_ED_KEY, "not that of the certificate");
    bad(PEM_CA PEM_API_CERTIFICATE, PEM_API_KEY, "not that of the certificate"); // wrong order
    bad(PEM_WEAK_CERTIFICATE, PEM_WEAK_KEY, "too small");
}

static void test_a_chain_has_a_maximum(void **state)
{
    (void)state;
    struct strbuf chain;
    strbuf_init(&chain, 1 << 20);
    strbuf_add_str(&chain, PEM_API_CERTIFICATE);
    for (int i = 1; i < TLS_CHAIN_MAX; i++) {
        strbuf_add_str(&chain, PEM_CA);
    }
    good(strbuf_cstr(&chain), PEM_API_KEY);
    strbuf_add_str(&chain, PEM_CA);
    bad(strbuf_cstr(&chain), PEM_API_KEY, "more than 16");
    strbuf_fini(&chain);
}

static void test_names_cover_hosts_as_browsers_have_it(void **state)
{
    (void)state;
    good(PEM_API_CERTIFICATE, PEM_API_KEY);
    assert_true(tls_leaf_covers(&leaf, SLICE("")));
    assert_true(tls_leaf_covers(&leaf, SLICE("api.example.com")));
    assert_true(tls_leaf_covers(&leaf, SLICE("other.example.com")));
    assert_true(tls_leaf_covers(&leaf, SLICE("*.example.com")));
    assert_false(tls_leaf_covers(&leaf, SLICE("example.com")));
    assert_false(tls_leaf_covers(&leaf, SLICE("a.b.example.com")));
    assert_false(tls_leaf_covers(&leaf, SLICE("*.b.example.com")));
    assert_false(tls_leaf_covers(&leaf, SLICE("example.org")));
    good(PEM_OTHER_CERTIFICATE, PEM_OTHER_KEY);
    assert_true(tls_leaf_covers(&leaf, SLICE("api.example.com"))); // it says API
    assert_false(tls_leaf_covers(&leaf, SLICE("*.example.com")));
    good(PEM_ED_CERTIFICATE, PEM_ED_KEY);
    assert_false(tls_leaf_covers(&leaf, SLICE("ed"))); // the common name
}

static void trust(const char *pem, int wanted)
{
    struct error err = ERROR_INIT;
    assert_int_equal(tls_pem_check_trust(slice_of_str(pem), &err), wanted);
    assert_int_equal(err.text[0] == '\0', wanted == 0);
}

static void test_authorities(void **state)
{
    (void)state;
    trust(PEM_CA, 0);
    trust(PEM_CA "# another\n" PEM_API_CERTIFICATE, 0);
    trust("", -EINVAL);
    trust(PEM_API_KEY, -EINVAL);
    trust(PEM_CA "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", -EINVAL);
}

static void test_digests_tell_lists_of_parts_apart(void **state)
{
    (void)state;
    const struct slice lists[][2] = {{SLICE("ab"), SLICE("c")},
                                     {SLICE("a"), SLICE("bc")},
                                     {SLICE(""), SLICE("abc")}};
    uint8_t digests[3][TLS_DIGEST_LEN];
    for (size_t i = 0; i < 3; i++) {
        assert_true(tls_digest(lists[i], 2, digests[i]));
    }
    assert_memory_not_equal(digests[0], digests[1], TLS_DIGEST_LEN);
    assert_memory_not_equal(digests[0], digests[2], TLS_DIGEST_LEN);
    assert_true(tls_digest(lists[0], 2, digests[1]));
    assert_memory_equal(digests[0], digests[1], TLS_DIGEST_LEN);
}

static int tear_down(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_certificate_with_its_key_is_good),
        cmocka_unit_test(test_what_is_wrong_is_said),
        cmocka_unit_test(test_a_chain_has_a_maximum),
        cmocka_unit_test(test_names_cover_hosts_as_browsers_have_it),
        cmocka_unit_test(test_authorities),
        cmocka_unit_test(test_digests_tell_lists_of_parts_apart),
    };
    return cmocka_run_group_tests_name("pem", tests, NULL, tear_down);
}
