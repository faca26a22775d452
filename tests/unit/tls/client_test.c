#include "tls/client.h"

#include "rig.h"

static struct rig rig;

static int setup(void **state)
{
    (void)state;
    rig_init(&rig);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_fini(&rig);
    return 0;
}

static void shake(struct pair *pair, const struct tls_upstream *upstream, enum tls_alpn alpn)
{
    pair_init(pair, &rig, 0, upstream, alpn);
    pair_shake(pair);
}

static void the_server_must_prove_its_name(void **state)
{
    (void)state;
    struct tls_identity old = certs_identity(
        &rig.root, (struct certs_spec){.common_name = "old", .san = "DNS:old.example.com",
                                       .days_ago = 10, .days_left = -1});
    struct tls_identity address = certs_identity(
        &rig.root, (struct certs_spec){.common_name = "by address", .san = "IP:127.0.0.1,IP:::1"});
    struct tls_identity elsewhere = certs_identity(
        &rig.root, (struct certs_spec){.common_name = "elsewhere", .san = "IP:10.0.0.1"});
    struct tls_identity wild = certs_identity(
        &rig.root, (struct certs_spec){.common_name = "wild", .san = "DNS:*.wild.example.com"});
    struct tls_identity common_name_only =
        certs_identity(&rig.root, (struct certs_spec){.common_name = "cn.example.com"});
    struct tls_identity strange = certs_identity(
        &rig.stranger, (struct certs_spec){.common_name = "s", .san = "DNS:strange.example.com"});
    struct tls_identity rsa = certs_identity(
        &rig.root, (struct certs_spec){.common_name = "r", .san = "DNS:rsa.example.com",
                                       .rsa = true});
    const struct {
        const char *name; // "": the address, 127.0.0.1
        const struct tls_identity *identity;
        enum tls_fault fault;
        const char *text; // part of what is said
    } rows[] = {
        {"a.example.com", &rig.identity, TLS_FAULT_NONE, NULL},
        {"b.example.com", &rig.identity, TLS_FAULT_NONE, NULL},
        {"rsa.example.com", &rsa, TLS_FAULT_NONE, NULL},
        {"c.example.com", &rig.identity, TLS_FAULT_CERTIFICATE_NAME,
         "wanted \"c.example.com\", certificate of \"CN=server\" (it is for a.example.com, "
         "b.example.com)"},
        {"cn.example.com", &common_name_only, TLS_FAULT_CERTIFICATE_NAME, "it has no DNS names"},
        {"x.wild.example.com", &wild, TLS_FAULT_NONE, NULL},
        {"x.y.wild.example.com", &wild, TLS_FAULT_CERTIFICATE_NAME, "x.y.wild.example.com"},
        {"wild.example.com", &wild, TLS_FAULT_CERTIFICATE_NAME, "*.wild.example.com"},
        {"old.example.com", &old, TLS_FAULT_CERTIFICATE_EXPIRED, "has expired"},
        {"strange.example.com", &strange, TLS_FAULT_CERTIFICATE_BAD, "CN=s"},
        {"", &address, TLS_FAULT_NONE, NULL},
        {"127.0.0.1", &address, TLS_FAULT_NONE, NULL},
        {"::1", &address, TLS_FAULT_NONE, NULL},
        {"", &elsewhere, TLS_FAULT_CERTIFICATE_NAME, "wanted \"127.0.0.1\""},
        {"::2", &address, TLS_FAULT_CERTIFICATE_NAME, "wanted \"::2\""},
    };
    for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
        size_t row = i / 2;
        struct tls_upstream upstream = rig_upstream(&rig, rows[row].name);
        struct pair pair;
        rig_no_hosts(&rig);
        rig_host(&rig, "", rows[row].identity);
        tls_client_keep_only(rig.client, NULL, 0); // a resumed session proves nothing anew
        pair_init(&pair, &rig, 0, &upstream, TLS_ALPN_HTTP1);
        SSL_set_max_proto_version(pair.client->ssl, i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION);
        pair_shake(&pair);
        if (tls_conn_fault(pair.client) != rows[row].fault ||
            (rows[row].text != NULL &&
             strstr(tls_conn_error(pair.client), rows[row].text) == NULL)) {
            fail_msg("row %zu: %s: %s", row, tls_fault_label(tls_conn_fault(pair.client)),
                     tls_conn_error(pair.client));
        }
        assert_int_equal(pair.client_rc, rows[row].fault == TLS_FAULT_NONE ? 0 : -EPROTO);
        pair_fini(&pair);
    }
}

static void insecure_takes_anybody(void **state)
{
    (void)state;
    struct tls_identity strange = certs_identity(
        &rig.stranger, (struct certs_spec){.common_name = "s", .days_ago = 10, .days_left = -1});
    rig_host(&rig, "", &strange);
    struct tls_upstream upstream = {.insecure = true, .server_name = SLICE("a.example.com")};
    struct pair pair;
    shake(&pair, &upstream, TLS_ALPN_HTTP1);
    pair_assert_shaken(&pair);
    assert_true(slice_eq_str(tls_conn_server_name(pair.server), "a.example.com"));
    struct arena arena = {0};
    struct tls_peer peer;
    assert_int_equal(tls_conn_peer(pair.client, &arena, &peer), 0); // nothing was verified
    pair_fini(&pair);
}

static void an_intermediate_or_the_certificate_itself_can_be_the_authority(void **state)
{
    (void)state;
    struct certs_authority middle = certs_make(
        &rig.root, (struct certs_spec){.common_name = "middle", .is_authority = true});
    struct tls_trust middle_trust = certs_trust(&middle);
    struct tls_identity leaf = certs_identity(
        &middle, (struct certs_spec){.common_name = "leaf", .san = "DNS:a.example.com"});
    struct tls_trust leaf_trust = {.ca_pem = leaf.certificate_pem, .digest = {3}};
    struct tls_identity chained = leaf;
    chained.certificate_pem = arena_printf(&certs_arena, "%.*s%.*s",
                                           SLICE_FMT(leaf.certificate_pem),
                                           SLICE_FMT(middle_trust.ca_pem));
    chained.digest[0] ^= 1;
    const struct {
        const struct tls_trust *trust;
        const struct tls_identity *identity;
        enum tls_fault fault;
    } rows[] = {
        {&middle_trust, &leaf, TLS_FAULT_NONE},
        {&leaf_trust, &leaf, TLS_FAULT_NONE},
        {&rig.trust, &leaf, TLS_FAULT_CERTIFICATE_BAD}, // the chain is not sent
        {&rig.trust, &chained, TLS_FAULT_NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tls_upstream upstream = {.trust = rows[i].trust,
                                        .server_name = SLICE("a.example.com")};
        struct pair pair;
        rig_rehash(&upstream);
        rig_no_hosts(&rig);
        rig_host(&rig, "", rows[i].identity);
        shake(&pair, &upstream, TLS_ALPN_HTTP1);
        if (tls_conn_fault(pair.client) != rows[i].fault) {
            fail_msg("row %zu: %s", i, tls_conn_error(pair.client));
        }
        pair_fini(&pair);
    }
    certs_drop(&middle);
}

static void what_cannot_be_used_is_told_at_once(void **state)
{
    (void)state;
    struct tls_identity broken = {.certificate_pem = SLICE("no PEM"), .digest = {1}};
    struct tls_trust empty = {.ca_pem = SLICE("# nothing\n"), .digest = {2}};
    struct tls_upstream rows[] = {
        {.trust = &rig.trust, .identity = &broken, .server_name = SLICE("a")},
        {.trust = &empty, .server_name = SLICE("a")},
    };
    static const char *const texts[] = {"certificate cannot be used",
                                        "authorities cannot be used: no certificate in them"};
    struct sockaddr_in address = rig_address(INADDR_LOOPBACK, 1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = ERROR_INIT;
        rig_rehash(&rows[i]);
        assert_null(tls_client_connect(rig.client, -1, &rows[i],
                                       (const struct sockaddr *)&address, TLS_ALPN_H2, &err));
        assert_non_null(strstr(err.text, texts[i]));
    }
}

static void http2_must_be_spoken_when_asked_for(void **state)
{
    (void)state;
    rig_host(&rig, "", &rig.identity);
    struct tls_upstream upstream = rig_upstream(&rig, "a.example.com");
    struct pair pair;
    shake(&pair, &upstream, TLS_ALPN_H2);
    pair_assert_shaken(&pair);
    assert_int_equal(tls_conn_alpn(pair.client), TLS_ALPN_H2);
    pair_fini(&pair);
    pair_init(&pair, &rig, 0, &upstream, TLS_ALPN_H2);
    SSL_set_alpn_protos(pair.client->ssl, NULL, 0); // so nothing is agreed on
    pair_shake(&pair);
    assert_int_equal(pair.client_rc, -EPROTO);
    assert_int_equal(tls_conn_fault(pair.client), TLS_FAULT_ALPN);
    pair_fini(&pair);
}

// ---- sessions -----------------------------------------------------------------------------------

static bool resumes(const struct tls_upstream *upstream, uint16_t port, int version)
{
    struct error err = ERROR_INIT;
    struct sockaddr_in address = rig_address(INADDR_LOOPBACK, port);
    struct pair pair;
    pair_open(&pair);
    pair.server = tls_server_accept(rig.servers[0], pair.server_fd, true);
    pair.client = tls_client_connect(rig.client, pair.client_fd, upstream,
                                     (const struct sockaddr *)&address, TLS_ALPN_HTTP1, &err);
    assert_non_null(pair.server);
    assert_non_null(pair.client);
    SSL_set_max_proto_version(pair.client->ssl, version);
    pair_shake(&pair);
    pair_assert_shaken(&pair);
    pair_talk(&pair);
    bool resumed = tls_conn_resumed(pair.client);
    pair_fini(&pair);
    return resumed;
}

static void sessions_are_taken_up_at_the_same_address_and_configuration(void **state)
{
    (void)state;
    rig_host(&rig, "", &rig.identity);
    struct tls_upstream a = rig_upstream(&rig, "a.example.com");
    struct tls_upstream b = rig_upstream(&rig, "b.example.com");
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        uint16_t port = (uint16_t)version;
        assert_false(resumes(&a, port, version));
        assert_true(resumes(&a, port, version));
        assert_true(resumes(&a, port, version));
        assert_false(resumes(&a, (uint16_t)(port + 10), version));
        assert_false(resumes(&b, port, version));
        assert_true(resumes(&a, port, version));
    }
}

static void sessions_go_with_their_configuration(void **state)
{
    (void)state;
    rig_host(&rig, "", &rig.identity);
    struct tls_upstream a = rig_upstream(&rig, "a.example.com");
    struct tls_upstream b = rig_upstream(&rig, "b.example.com");
    const struct tls_upstream *kept[] = {&a};
    assert_false(resumes(&a, 1, TLS1_3_VERSION));
    assert_false(resumes(&b, 1, TLS1_3_VERSION));
    tls_client_keep_only(rig.client, kept, 1);
    assert_true(resumes(&a, 1, TLS1_3_VERSION));
    assert_false(resumes(&b, 1, TLS1_3_VERSION));
    tls_client_keep_only(rig.client, NULL, 0);
    assert_false(resumes(&a, 1, TLS1_3_VERSION));
}

static void a_session_ends_with_its_certificate(void **state)
{
    (void)state;
    struct tls_identity old = certs_identity(
        &rig.root, (struct certs_spec){.common_name = "o", .days_ago = 10, .days_left = -1});
    struct tls_upstream upstream = {.insecure = true, .server_name = SLICE("a.example.com")};
    rig_host(&rig, "", &old);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        assert_false(resumes(&upstream, 1, version));
        assert_false(resumes(&upstream, 1, version)); // so that it is looked at again
    }
}

static void the_oldest_sessions_make_room(void **state)
{
    (void)state;
    rig_host(&rig, "", &rig.identity);
    struct tls_upstream a = rig_upstream(&rig, "a.example.com");
    for (uint16_t port = 1; port <= TLS_CLIENT_SESSIONS_MAX + 2; port++) {
        assert_false(resumes(&a, port, TLS1_3_VERSION));
    }
    assert_true(resumes(&a, TLS_CLIENT_SESSIONS_MAX, TLS1_3_VERSION));
    assert_true(resumes(&a, 3, TLS1_3_VERSION));
    assert_false(resumes(&a, 1, TLS1_3_VERSION));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_server_must_prove_its_name),
        TEST(insecure_takes_anybody),
        TEST(an_intermediate_or_the_certificate_itself_can_be_the_authority),
        TEST(what_cannot_be_used_is_told_at_once),
        TEST(http2_must_be_spoken_when_asked_for),
        TEST(sessions_are_taken_up_at_the_same_address_and_configuration),
        TEST(sessions_go_with_their_configuration),
        TEST(a_session_ends_with_its_certificate),
        TEST(the_oldest_sessions_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
