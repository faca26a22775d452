// Lists of authorities that threads share: read once, as long as somebody holds them.
#include "tls/store.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tls/certs.h"

static struct certs_authority root;

static void it_is_the_same_while_it_is_held(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct tls_trust trust = certs_trust(&root);
    struct tls_store *first = tls_store_get(&trust, &err);
    assert_non_null(first);
    struct tls_trust unreadable = {.ca_pem = SLICE("")}; // would be noticed if it were read
    memcpy(unreadable.digest, trust.digest, TLS_DIGEST_LEN);
    assert_ptr_equal(tls_store_get(&unreadable, &err), first);
    tls_store_unref(first);
    assert_ptr_equal(tls_store_get(&unreadable, &err), first);
    tls_store_unref(first);
    tls_store_unref(first);
    assert_null(tls_store_get(&unreadable, &err));
    tls_store_unref(NULL);
}

static void others_are_others(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct certs_authority other = certs_root("other");
    struct tls_trust a = certs_trust(&root);
    struct tls_trust b = certs_trust(&other);
    struct tls_store *of_a = tls_store_get(&a, &err);
    struct tls_store *of_b = tls_store_get(&b, &err);
    assert_true(of_a != NULL && of_b != NULL && of_a != of_b);
    tls_store_unref(of_a);
    assert_ptr_equal(tls_store_get(&b, &err), of_b);
    tls_store_unref(of_b);
    tls_store_unref(of_b);
    certs_drop(&other);
}

static void what_cannot_be_read_is_said_and_not_kept(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct error err = ERROR_INIT;
        struct tls_trust broken = {.ca_pem = slice_of_str(texts[i]), .digest = {9}};
        assert_null(tls_store_get(&broken, &err));
        assert_non_null(strstr(err.text, "the authorities cannot be used: "));
    }
    struct error err = ERROR_INIT;
    struct tls_trust good = {.ca_pem = certs_trust(&root).ca_pem, .digest = {9}};
    struct tls_store *store = tls_store_get(&good, &err);
    assert_non_null(store);
    tls_store_unref(store);
}

static void the_systems_are_one(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct tls_store *store = tls_store_get(NULL, &err);
    assert_non_null(store);
    tls_store_unref(store);
    assert_ptr_equal(tls_store_get(NULL, &err), store);
}

static void *get_and_drop(void *arg)
{
    struct error err = ERROR_INIT;
    for (int i = 0; i < 200; i++) {
        struct tls_store *store = tls_store_get(arg, &err);
        if (store == NULL) {
            return arg;
        }
        tls_store_unref(store);
    }
    return NULL;
}

static void threads_may_come_and_go_at_once(void **state)
{
    (void)state;
    struct tls_trust trust = certs_trust(&root);
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, get_and_drop, &trust), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}

static int make(void **state)
{
    (void)state;
    root = certs_root("root");
    return 0;
}

static int drop(void **state)
{
    (void)state;
    certs_drop(&root);
    certs_free();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_same_while_it_is_held),
        cmocka_unit_test(others_are_others),
        cmocka_unit_test(what_cannot_be_read_is_said_and_not_kept),
        cmocka_unit_test(the_systems_are_one),
        cmocka_unit_test(threads_may_come_and_go_at_once),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
