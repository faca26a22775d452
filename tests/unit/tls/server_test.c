#include "tls/server.h"

#include "base/clock.h"
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
    clock_fake_set_ns(0);
    rig_fini(&rig);
    return 0;
}

static struct tls_identity identity_of(const char *name)
{
    return certs_identity(&rig.root, (struct certs_spec){.common_name = name});
}

// An upstream that takes any certificate, so that names can be asked for freely.
static struct tls_upstream careless(const char *name)
{
    struct tls_upstream upstream = {.insecure = true, .server_name = slice_of_str(name)};
    rig_rehash(&upstream);
    return upstream;
}

static void open_for(struct pair *pair, int worker, const char *name)
{
    struct tls_upstream upstream = careless(name);
    pair_init(pair, &rig, worker, &upstream, TLS_ALPN_HTTP1);
    if (name[0] == '\0') {
        SSL_set_tlsext_host_name(pair->client->ssl, NULL);
    }
    pair_shake(pair);
}

static void assert_certificate(const struct tls_conn *client, const char *common_name)
{
    char text[64] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(client->ssl)),
                              NID_commonName, text, sizeof(text));
    assert_string_equal(text, common_name);
}

static void the_name_selects_the_certificate(void **state)
{
    (void)state;
    struct tls_identity exact = identity_of("exact");
    struct tls_identity wild = identity_of("wild");
    struct tls_identity any = identity_of("any");
    rig_host(&rig, "a.example.com", &exact);
    rig_host(&rig, "*.example.com", &wild);
    rig_host(&rig, "", &any);
    static const char *const rows[][2] = {
        {"a.example.com", "exact"}, {"A.EXAMPLE.com", "exact"}, {"b.example.com", "wild"},
        {"x.y.example.com", "any"}, {"example.com", "any"}, {"other.org", "any"}, {"", "any"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pair pair;
        open_for(&pair, 0, rows[i][0]);
        pair_assert_shaken(&pair);
        assert_certificate(pair.client, rows[i][1]);
        pair_talk(&pair);
        pair_fini(&pair);
    }
}

static void a_name_that_nobody_serves_is_refused(void **state)
{
    (void)state;
    struct tls_identity exact = identity_of("exact");
    rig_host(&rig, "a.example.com", &exact);
    static const char *const names[] = {"b.example.com", "", "a.example.com.evil"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct pair pair;
        open_for(&pair, 0, names[i]);
        assert_int_equal(pair.server_rc, -EPROTO);
        assert_int_equal(tls_conn_fault(pair.server), TLS_FAULT_UNKNOWN_NAME);
        assert_int_equal(pair.client_rc, -EPROTO);
        assert_int_equal(tls_conn_fault(pair.client), TLS_FAULT_ALERT);
        assert_non_null(strstr(tls_conn_error(pair.client), "unrecognized name"));
        pair_fini(&pair);
    }
}

static void a_certificate_that_cannot_be_used_fails_its_handshakes_only(void **state)
{
    (void)state;
    struct tls_identity good = identity_of("good");
    struct tls_identity other = identity_of("other");
    struct tls_identity mixed = good;
    struct tls_identity empty = {.digest = {9}};
    struct tls_identity garbled = good;
    mixed.key_pem = other.key_pem;
    mixed.digest[0] ^= 1;
    garbled.certificate_pem.len /= 2;
    garbled.digest[0] ^= 2;
    rig_host(&rig, "mixed", &mixed);
    rig_host(&rig, "empty", &empty);
    rig_host(&rig, "garbled", &garbled);
    rig_host(&rig, "good", &good);
    static const char *const names[] = {"mixed", "empty", "garbled"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct pair pair;
        open_for(&pair, 0, names[i]);
        assert_int_equal(pair.server_rc, -EPROTO);
        assert_int_equal(tls_conn_fault(pair.server), TLS_FAULT_CONFIGURATION);
        pair_fini(&pair);
        open_for(&pair, 0, "good");
        pair_assert_shaken(&pair);
        pair_fini(&pair);
    }
}

static void the_application_protocol_is_agreed_on(void **state)
{
    (void)state;
    struct tls_identity identity = identity_of("server");
    rig_host(&rig, "a", &identity);
    static const unsigned char both[] = "\10http/1.1\2h2";
    static const unsigned char h1[] = "\10http/1.1";
    static const unsigned char h2[] = "\2h2";
    static const unsigned char other[] = "\4spdy";
    static const struct {
        const unsigned char *offer;
        unsigned len;
        bool h2;
        int agreed; // -1: refused
    } rows[] = {
        {both, sizeof(both) - 1, true, TLS_ALPN_H2},
        {both, sizeof(both) - 1, false, TLS_ALPN_HTTP1},
        {h1, sizeof(h1) - 1, true, TLS_ALPN_HTTP1},
        {h2, sizeof(h2) - 1, true, TLS_ALPN_H2},
        {h2, sizeof(h2) - 1, false, -1},
        {other, sizeof(other) - 1, true, -1},
        {NULL, 0, true, TLS_ALPN_NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tls_upstream upstream = careless("a");
        struct pair pair;
        pair_init(&pair, &rig, 0, &upstream, TLS_ALPN_NONE);
        SSL_set_alpn_protos(pair.client->ssl, rows[i].offer, rows[i].len);
        pair.server->h2 = rows[i].h2;
        pair_shake(&pair);
        if (rows[i].agreed < 0) {
            assert_int_equal(pair.server_rc, -EPROTO);
            assert_int_equal(tls_conn_fault(pair.server), TLS_FAULT_ALPN);
        } else {
            pair_assert_shaken(&pair);
            assert_int_equal((int)tls_conn_alpn(pair.server), rows[i].agreed);
            assert_int_equal((int)tls_conn_alpn(pair.client), rows[i].agreed);
        }
        pair_fini(&pair);
    }
}

// ---- resumption ---------------------------------------------------------------------------------

// A connection to `worker` that offers the session, if any, and leaves its own. Was it resumed?
static bool resumes(int worker, const char *name, int version, SSL_SESSION **session)
{
    struct tls_upstream upstream = careless(name);
    struct pair pair;
    // As if to another address each time, so that only what the test hands on is offered.
    pair_init(&pair, &rig, worker, &upstream, TLS_ALPN_HTTP1);
    SSL_set_max_proto_version(pair.client->ssl, version);
    SSL_set_session(pair.client->ssl, *session);
    pair_shake(&pair);
    pair_assert_shaken(&pair);
    pair_talk(&pair);
    bool resumed = tls_conn_resumed(pair.server);
    assert_int_equal(resumed, tls_conn_resumed(pair.client));
    SSL_SESSION_free(*session);
    *session = SSL_get1_session(pair.client->ssl);
    pair_fini(&pair);
    return resumed;
}

static void a_session_is_resumed_on_any_worker(void **state)
{
    (void)state;
    struct tls_identity identity = identity_of("server");
    rig_host(&rig, "a", &identity);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_SESSION *session = NULL;
        assert_false(resumes(0, "a", version, &session));
        assert_true(resumes(1, "a", version, &session));
        assert_true(resumes(0, "a", version, &session));
        assert_true(resumes(0, "a", version, &session));
        SSL_SESSION_free(session);
    }
}

static void a_session_does_not_cross_hosts_certificates_or_policies(void **state)
{
    (void)state;
    struct tls_identity identity = identity_of("server");
    struct tls_identity renewed = identity_of("server");
    struct tls_host *a = rig_host(&rig, "a", &identity);
    rig_host(&rig, "b", &identity);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_SESSION *session = NULL;
        *a = (struct tls_host){.name = SLICE("a"), .identity = &identity};
        assert_false(resumes(0, "a", version, &session));
        assert_false(resumes(0, "b", version, &session));
        assert_false(resumes(0, "a", version, &session));
        a->identity = &renewed; // the client is to see it
        assert_false(resumes(0, "a", version, &session));
        assert_true(resumes(0, "a", version, &session));
        a->client_auth = TLS_CLIENT_AUTH_OPTIONAL;
        a->client_trust = &rig.trust;
        assert_false(resumes(0, "a", version, &session));
        assert_true(resumes(0, "a", version, &session));
        a->client_trust = &rig.strange_trust;
        assert_false(resumes(0, "a", version, &session));
        SSL_SESSION_free(session);
    }
}

static void tickets_outlive_a_rotation_but_not_three(void **state)
{
    (void)state;
    struct tls_identity identity = identity_of("server");
    rig_host(&rig, "a", &identity);
    uint64_t now_ms = 1000;
    uint64_t now_ns = now_ms * 1000000u;
    clock_fake_set_ns(now_ns);
    tls_tickets_tick(rig.tickets, 0);
    SSL_SESSION *session = NULL;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        assert_false(resumes(0, "a", version, &session));
        now_ns += (uint64_t)TLS_TICKET_PERIOD_MS * 1000000u;
        clock_fake_set_ns(now_ns);
        assert_true(resumes(1, "a", version, &session));
        // A new ticket came with that: it is good for as long again.
        now_ns += 2 * (uint64_t)TLS_TICKET_PERIOD_MS * 1000000u;
        clock_fake_set_ns(now_ns);
        assert_true(resumes(0, "a", version, &session));
        now_ns += 3 * (uint64_t)TLS_TICKET_PERIOD_MS * 1000000u;
        clock_fake_set_ns(now_ns);
        assert_false(resumes(0, "a", version, &session));
        SSL_SESSION_free(session);
        session = NULL;
    }
}

// ---- client certificates ------------------------------------------------------------------------

enum shown { NOTHING, GOOD, STRANGE, EXPIRED };

static struct tls_identity shown_identity(enum shown shown)
{
    struct certs_spec spec = {
        .common_name = "client",
        .san = "URI:spiffe://example.com/ns/a/sa/b,DNS:client.example.com,DNS:two.example.com",
        .days_ago = 10,
        .days_left = shown == EXPIRED ? -1 : 30,
    };
    return certs_identity(shown == STRANGE ? &rig.stranger : &rig.root, spec);
}

static void client_certificates_are_asked_for_and_verified(void **state)
{
    (void)state;
    struct tls_identity identity = identity_of("server");
    struct tls_host *host = rig_host(&rig, "a", &identity);
    static const struct {
        enum tls_client_auth auth;
        enum shown shown;
        enum tls_fault fault;
        bool seen;
    } rows[] = {
        {TLS_CLIENT_AUTH_NONE, NOTHING, TLS_FAULT_NONE, false},
        {TLS_CLIENT_AUTH_NONE, GOOD, TLS_FAULT_NONE, false},
        {TLS_CLIENT_AUTH_OPTIONAL, NOTHING, TLS_FAULT_NONE, false},
        {TLS_CLIENT_AUTH_OPTIONAL, GOOD, TLS_FAULT_NONE, true},
        {TLS_CLIENT_AUTH_OPTIONAL, STRANGE, TLS_FAULT_CERTIFICATE_BAD, false},
        {TLS_CLIENT_AUTH_OPTIONAL, EXPIRED, TLS_FAULT_CERTIFICATE_EXPIRED, false},
        {TLS_CLIENT_AUTH_REQUIRED, NOTHING, TLS_FAULT_CERTIFICATE_MISSING, false},
        {TLS_CLIENT_AUTH_REQUIRED, GOOD, TLS_FAULT_NONE, true},
        {TLS_CLIENT_AUTH_REQUIRED, STRANGE, TLS_FAULT_CERTIFICATE_BAD, false},
        {TLS_CLIENT_AUTH_REQUIRED, EXPIRED, TLS_FAULT_CERTIFICATE_EXPIRED, false},
    };
    for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
        size_t row = i / 2;
        struct tls_identity client = shown_identity(rows[row].shown);
        struct tls_upstream upstream = careless("a");
        upstream.identity = rows[row].shown != NOTHING ? &client : NULL;
        rig_rehash(&upstream);
        host->client_auth = rows[row].auth;
        host->client_trust = rows[row].auth != TLS_CLIENT_AUTH_NONE ? &rig.trust : NULL;
        struct pair pair;
        pair_init(&pair, &rig, 0, &upstream, TLS_ALPN_HTTP1);
        SSL_set_max_proto_version(pair.client->ssl, i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION);
        pair_shake(&pair);
        if (tls_conn_fault(pair.server) != rows[row].fault) {
            fail_msg("row %zu: %s", row, tls_conn_error(pair.server));
        }
        assert_int_equal(pair.server_rc, rows[row].fault == TLS_FAULT_NONE ? 0 : -EPROTO);
        struct arena arena = {0};
        struct tls_peer peer;
        uint8_t digest[TLS_DIGEST_LEN] = {0};
        assert_int_equal(tls_conn_peer(pair.server, &arena, &peer), rows[row].seen);
        assert_int_equal(tls_conn_verified(pair.server, digest), rows[row].seen);
        assert_true(!rows[row].seen || memcmp(digest, rig.trust.digest, TLS_DIGEST_LEN) == 0);
        arena_fini(&arena);
        pair_fini(&pair);
    }
}

static void who_the_client_is_can_be_read(void **state)
{
    (void)state;
    struct tls_identity identity = identity_of("server");
    struct tls_host *host = rig_host(&rig, "a", &identity);
    host->client_auth = TLS_CLIENT_AUTH_REQUIRED;
    host->client_trust = &rig.trust;
    struct tls_identity client = shown_identity(GOOD);
    struct tls_upstream upstream = careless("a");
    upstream.identity = &client;
    rig_rehash(&upstream);
    char fingerprint[65] = "";
    for (int i = 0; i < 2; i++) { // the second time resumed
        struct pair pair;
        pair_init(&pair, &rig, i, &upstream, TLS_ALPN_HTTP1);
        pair_shake(&pair);
        pair_assert_shaken(&pair);
        pair_talk(&pair);
        assert_int_equal(tls_conn_resumed(pair.server), i);
        struct arena arena = {0};
        struct tls_peer peer;
        assert_int_equal(tls_conn_peer(pair.server, &arena, &peer), 1);
        assert_true(slice_eq_str(peer.subject, "CN=client"));
        assert_int_equal(peer.uri_count, 1);
        assert_true(slice_eq_str(peer.uris[0], "spiffe://example.com/ns/a/sa/b"));
        assert_int_equal(peer.dns_count, 2);
        assert_true(slice_eq_str(peer.dns_names[1], "two.example.com"));
        assert_int_equal(strlen(peer.fingerprint), 64);
        assert_true(i == 0 || strcmp(fingerprint, peer.fingerprint) == 0);
        memcpy(fingerprint, peer.fingerprint, sizeof(fingerprint));
        arena_fini(&arena);
        pair_fini(&pair);
    }
}

static void names_that_cannot_be_shown_are_escaped_or_left_out(void **state)
{
    (void)state;
    struct tls_identity identity = identity_of("server");
    struct tls_host *host = rig_host(&rig, "a", &identity);
    host->client_auth = TLS_CLIENT_AUTH_REQUIRED;
    host->client_trust = &rig.trust;
    struct certs_spec spec = {.common_name = "x\r\nEvil: 1,\xc3\xa9", .san = "URI:a b,URI:c"};
    struct tls_identity client = certs_identity(&rig.root, spec);
    struct tls_upstream upstream = careless("a");
    upstream.identity = &client;
    rig_rehash(&upstream);
    struct pair pair;
    pair_init(&pair, &rig, 0, &upstream, TLS_ALPN_HTTP1);
    pair_shake(&pair);
    pair_assert_shaken(&pair);
    struct arena arena = {0};
    struct tls_peer peer;
    assert_int_equal(tls_conn_peer(pair.server, &arena, &peer), 1);
    assert_int_equal(peer.uri_count, 1);
    assert_true(slice_eq_str(peer.uris[0], "c"));
    for (size_t i = 0; i < peer.subject.len; i++) {
        assert_in_range(peer.subject.ptr[i], ' ', '~');
    }
    arena_fini(&arena);
    pair_fini(&pair);
}

// ---- rotation -----------------------------------------------------------------------------------

static void a_new_certificate_takes_over_and_connections_go_on(void **state)
{
    (void)state;
    struct tls_identity old = identity_of("old");
    struct tls_identity renewed = identity_of("renewed");
    struct tls_host *host = rig_host(&rig, "a", &old);
    struct pair before;
    struct pair between;
    struct pair after;
    open_for(&before, 0, "a");
    pair_assert_shaken(&before);
    struct tls_upstream upstream = careless("a");
    pair_init(&between, &rig, 0, &upstream, TLS_ALPN_HTTP1);
    assert_int_equal(tls_conn_handshake(between.client), -EAGAIN);
    assert_int_equal(tls_conn_handshake(between.server), -EAGAIN);

    host->identity = &renewed;
    tls_server_keep_only(rig.servers[0], rig.hosts, rig.host_count);
    assert_int_equal(before.server->context->refs, 2); // these two; the cache has let go

    pair_shake(&between);
    pair_assert_shaken(&between);
    pair_talk(&before);
    pair_talk(&between);
    tls_client_keep_only(rig.client, NULL, 0); // no resumption, to see the certificate
    open_for(&after, 0, "a");
    pair_assert_shaken(&after);
    assert_certificate(after.client, "renewed");
    assert_true(after.server->context != before.server->context);
    tls_server_keep_only(rig.servers[0], rig.hosts, rig.host_count);
    assert_int_equal(after.server->context->refs, 2); // the cache's and its own
    pair_fini(&before);
    pair_fini(&between);
    pair_fini(&after);
}

static void hosts_with_one_certificate_share_what_is_made_of_it(void **state)
{
    (void)state;
    struct tls_identity identity = identity_of("server");
    rig_host(&rig, "a", &identity);
    rig_host(&rig, "b", &identity);
    struct pair a;
    struct pair b;
    open_for(&a, 0, "a");
    open_for(&b, 0, "b");
    assert_ptr_equal(a.server->context, b.server->context);
    pair_fini(&a);
    pair_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_name_selects_the_certificate),
        TEST(a_name_that_nobody_serves_is_refused),
        TEST(a_certificate_that_cannot_be_used_fails_its_handshakes_only),
        TEST(the_application_protocol_is_agreed_on),
        TEST(a_session_is_resumed_on_any_worker),
        TEST(a_session_does_not_cross_hosts_certificates_or_policies),
        TEST(tickets_outlive_a_rotation_but_not_three),
        TEST(client_certificates_are_asked_for_and_verified),
        TEST(who_the_client_is_can_be_read),
        TEST(names_that_cannot_be_shown_are_escaped_or_left_out),
        TEST(a_new_certificate_takes_over_and_connections_go_on),
        TEST(hosts_with_one_certificate_share_what_is_made_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
