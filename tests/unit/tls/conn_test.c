#include "tls/conn.h"

#include <openssl/err.h>

#include "base/rand.h"
#include "rig.h"

static struct rig rig;

static int setup(void **state)
{
    (void)state;
    rig_init(&rig);
    rig_host(&rig, "a.example.com", &rig.identity);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_fini(&rig);
    return 0;
}

static void open_shaken(struct pair *pair, int version)
{
    struct tls_upstream upstream = rig_upstream(&rig, "a.example.com");
    pair_init(pair, &rig, 0, &upstream, TLS_ALPN_HTTP1);
    SSL_set_max_proto_version(pair->client->ssl, version);
    pair_shake(pair);
    pair_assert_shaken(pair);
}

static void both_versions_shake_hands_and_talk(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *name;
    } rows[] = {{TLS1_2_VERSION, "TLSv1.2"}, {TLS1_3_VERSION, "TLSv1.3"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pair pair;
        open_shaken(&pair, rows[i].version);
        pair_talk(&pair);
        assert_string_equal(tls_conn_version(pair.server), rows[i].name);
        assert_true(slice_eq_str(tls_conn_server_name(pair.server), "a.example.com"));
        assert_int_equal(tls_conn_alpn(pair.server), TLS_ALPN_HTTP1);
        assert_int_equal(tls_conn_fault(pair.server), TLS_FAULT_NONE);
        pair_fini(&pair);
    }
}

static void an_older_version_is_refused(void **state)
{
    (void)state;
    struct tls_upstream upstream = rig_upstream(&rig, "a.example.com");
    struct pair pair;
    pair_init(&pair, &rig, 0, &upstream, TLS_ALPN_HTTP1);
    SSL_set_security_level(pair.client->ssl, 0);
    SSL_set_min_proto_version(pair.client->ssl, TLS1_VERSION);
    SSL_set_max_proto_version(pair.client->ssl, TLS1_1_VERSION);
    SSL_set_cipher_list(pair.client->ssl, "ALL:@SECLEVEL=0");
    pair_shake(&pair);
    assert_int_equal(pair.server_rc, -EPROTO);
    assert_int_equal(tls_conn_fault(pair.server), TLS_FAULT_VERSION);
    assert_int_equal(pair.client_rc, -EPROTO);
    pair_fini(&pair);
}

static void nothing_is_there_is_told_apart_from_the_end(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct pair pair;
        char buf[16];
        open_shaken(&pair, version);
        assert_int_equal(tls_conn_recv(pair.server, buf, sizeof(buf)), -EAGAIN);
        send_text(pair.client, "bye");
        expect_text(pair.server, "bye");
        assert_true(tls_conn_is_drained(pair.server));
        send_text(pair.client, "bye");
        tls_conn_shutdown(pair.client);
        tls_conn_shutdown(pair.client);
        expect_text(pair.server, "bye");
        assert_false(tls_conn_is_drained(pair.server)); // no event will tell of the end
        assert_int_equal(tls_conn_recv(pair.server, buf, sizeof(buf)), 0);
        assert_int_equal(tls_conn_recv(pair.server, buf, sizeof(buf)), 0);
        send_text(pair.server, "late"); // half closed
        expect_text(pair.client, "late");
        pair_fini(&pair);
    }
}

static void an_end_without_close_notify_is_an_error(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct pair pair;
        char buf[16];
        open_shaken(&pair, version);
        pair_talk(&pair);
        send_text(pair.client, "bye");
        close(pair.client_fd);
        pair.client_fd = -1;
        expect_text(pair.server, "bye");
        assert_int_equal(tls_conn_recv(pair.server, buf, sizeof(buf)), -ECONNABORTED);
        assert_int_equal(tls_conn_recv(pair.server, buf, sizeof(buf)), -ECONNABORTED);
        assert_int_equal(tls_conn_fault(pair.server), TLS_FAULT_TRUNCATED);
        pair_fini(&pair);
    }
}

// It comes with the event of the ticket: there is no other that would tell of it.
static void an_end_right_behind_a_ticket_is_found(void **state)
{
    (void)state;
    struct pair pair;
    char buf[16];
    open_shaken(&pair, TLS1_3_VERSION);
    close(pair.server_fd);
    pair.server_fd = -1;
    assert_int_equal(tls_conn_recv(pair.client, buf, sizeof(buf)), -ECONNABORTED);
    pair_fini(&pair);
}

static void an_end_inside_a_record_is_found(void **state)
{
    (void)state;
    struct pair pair;
    char buf[16];
    open_shaken(&pair, TLS1_3_VERSION);
    pair_talk(&pair);
    assert_int_equal(write(pair.client_fd, "\x17\x03\x03\x00\x20half", 9), 9);
    close(pair.client_fd);
    pair.client_fd = -1;
    assert_int_equal(tls_conn_recv(pair.server, buf, sizeof(buf)), -ECONNABORTED);
    pair_fini(&pair);
}

static void a_peer_that_leaves_in_the_handshake_is_closed(void **state)
{
    (void)state;
    struct tls_upstream upstream = rig_upstream(&rig, "a.example.com");
    struct pair pair;
    pair_init(&pair, &rig, 0, &upstream, TLS_ALPN_HTTP1);
    assert_int_equal(tls_conn_handshake(pair.client), -EAGAIN);
    assert_int_equal(shutdown(pair.client_fd, SHUT_WR), 0);
    assert_int_equal(tls_conn_handshake(pair.server), -EPROTO);
    assert_int_equal(tls_conn_fault(pair.server), TLS_FAULT_CLOSED);
    pair_fini(&pair);
}

static void pieces_go_out_as_one_record(void **state)
{
    (void)state;
    struct pair pair;
    open_shaken(&pair, TLS1_3_VERSION);
    pair_talk(&pair);
    struct iovec iov[] = {
        {(void *)(uintptr_t)"HTTP/1.1 200 OK\r\n\r\n", 19}, {NULL, 0},
        {(void *)(uintptr_t)"5\r\n", 3}, {(void *)(uintptr_t)"hello", 5},
        {(void *)(uintptr_t)"\r\n", 2}, {NULL, 0},
    };
    uint64_t before = pair.client->received;
    assert_int_equal(tls_conn_sendv(pair.server, iov, 6), 29);
    expect_text(pair.client, "HTTP/1.1 200 OK\r\n\r\n5\r\nhello\r\n");
    // Header, content type and tag of one record (RFC 8446 section 5.2).
    assert_int_equal(pair.client->received - before, 29 + 5 + 1 + 16);
    assert_int_equal(tls_conn_sendv(pair.server, iov + 1, 1), 0);
    pair_fini(&pair);
}

// Everything of `data` through sockets that take little, in random pieces; both ends move in turn.
static void pump(struct tls_conn *from, struct tls_conn *to, const char *data, size_t len,
                 struct rand_state *rng)
{
    size_t sent = 0;
    size_t got = 0;
    char buf[5000];
    while (got < len) {
        struct iovec iov[5];
        size_t at = sent;
        for (int i = 0; i < 5; i++) {
            size_t piece = MIN_OF((size_t)rand_below(rng, i == 2 ? 50000 : 300), len - at);
            iov[i] = (struct iovec){(void *)(uintptr_t)(data + at), piece};
            at += piece;
        }
        ssize_t n = tls_conn_sendv(from, iov, 5);
        assert_true(n >= 0 || n == -EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
        if (tls_conn_wants_write(from)) {
            int rc = tls_conn_flush(from);
            assert_true(rc == 0 || rc == -EAGAIN);
        }
        n = tls_conn_recv(to, buf, 1 + rand_below(rng, sizeof(buf)));
        assert_true(n > 0 || n == -EAGAIN);
        if (n > 0) {
            assert_true(got + (size_t)n <= sent);
            assert_memory_equal(buf, data + got, (size_t)n);
            got += (size_t)n;
        }
    }
    assert_int_equal(sent, len);
    assert_int_equal(tls_conn_flush(from), 0);
}

static void much_data_passes_small_sockets_unharmed(void **state)
{
    (void)state;
    enum { LEN = 1000000 };
    struct rand_state rng = {.state = 42};
    char *data = malloc(LEN);
    assert_non_null(data);
    for (size_t i = 0; i < LEN; i++) {
        data[i] = (char)rand_u64(&rng);
    }
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct pair pair;
        int size = 1;
        open_shaken(&pair, version);
        setsockopt(pair.server_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        setsockopt(pair.client_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        pump(pair.server, pair.client, data, LEN, &rng);
        pump(pair.client, pair.server, data, LEN, &rng);
        pair_fini(&pair);
    }
    free(data);
}

static void what_waits_for_a_slow_reader_is_bounded(void **state)
{
    (void)state;
    struct pair pair;
    open_shaken(&pair, TLS1_3_VERSION);
    static char block[300000];
    struct iovec iov = {block, sizeof(block)};
    size_t taken = 0;
    ssize_t n;
    while ((n = tls_conn_sendv(pair.server, &iov, 1)) > 0) {
        taken += (size_t)n;
        assert_true(taken < 64u * 1024 * 1024);
    }
    assert_int_equal(n, -EAGAIN);
    assert_true(tls_conn_wants_write(pair.server));
    assert_in_range(pair.server->unsent_len, 1, TLS_UNSENT_MAX);
    assert_int_equal(tls_conn_flush(pair.server), -EAGAIN);
    static char buf[65536];
    size_t got = 0;
    while (got < taken) {
        n = tls_conn_recv(pair.client, buf, sizeof(buf));
        got += n > 0 ? (size_t)n : 0;
        int rc = tls_conn_flush(pair.server);
        assert_true(rc == 0 || rc == -EAGAIN);
    }
    assert_int_equal(got, taken);
    assert_null(pair.server->unsent);
    pair_fini(&pair);
}

static void who_is_not_done_is_told_so(void **state)
{
    (void)state;
    struct pair pair;
    int size = 1;
    open_shaken(&pair, TLS1_3_VERSION);
    setsockopt(pair.server_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    static char block[40000];
    struct iovec iov = {block, sizeof(block)};
    ssize_t n = tls_conn_sendv(pair.server, &iov, 1);
    assert_int_equal(n, sizeof(block) - 1); // all of it is encrypted, not all sent
    iov = (struct iovec){block, 1};
    assert_int_equal(tls_conn_sendv(pair.server, &iov, 1), -EAGAIN);
    static char buf[65536];
    size_t got = 0;
    while (got < sizeof(block)) {
        n = tls_conn_recv(pair.client, buf, sizeof(buf));
        assert_true(n > 0 || n == -EAGAIN);
        got += n > 0 ? (size_t)n : 0;
        n = tls_conn_sendv(pair.server, &iov, 1);
        if (n == 1) {
            iov.iov_len = 0;
        }
    }
    assert_int_equal(got, sizeof(block)); // the byte that came again went once
    assert_int_equal(iov.iov_len, 0);
    assert_int_equal(tls_conn_recv(pair.client, buf, sizeof(buf)), -EAGAIN);
    pair_fini(&pair);
}

static void what_came_with_the_handshake_is_received(void **state)
{
    (void)state;
    struct tls_upstream upstream = rig_upstream(&rig, "a.example.com");
    struct pair pair;
    pair_init(&pair, &rig, 0, &upstream, TLS_ALPN_HTTP1);
    assert_int_equal(tls_conn_handshake(pair.client), -EAGAIN);
    assert_int_equal(tls_conn_handshake(pair.server), -EAGAIN);
    assert_int_equal(tls_conn_handshake(pair.client), 0);
    send_text(pair.client, "early");
    assert_int_equal(tls_conn_handshake(pair.server), 0);
    assert_true(tls_conn_pending(pair.server));
    expect_text(pair.server, "early");
    assert_false(tls_conn_pending(pair.server));
    pair_fini(&pair);
}

static void a_handshake_goes_through_a_small_socket(void **state)
{
    (void)state;
    struct tls_upstream upstream = rig_upstream(&rig, "a.example.com");
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct pair pair;
        char filler[512] = {0};
        pair_init(&pair, &rig, 0, &upstream, TLS_ALPN_HTTP1);
        SSL_set_max_proto_version(pair.client->ssl, version);
        assert_int_equal(tls_conn_handshake(pair.client), -EAGAIN);
        // The server's socket is full: its flight has to wait.
        size_t filled = 0;
        ssize_t n;
        while ((n = send(pair.server_fd, filler, sizeof(filler), MSG_DONTWAIT)) > 0) {
            filled += (size_t)n;
        }
        assert_int_equal(tls_conn_handshake(pair.server), -EAGAIN);
        assert_true(tls_conn_wants_write(pair.server));
        while (filled > 0) {
            n = recv(pair.client_fd, filler, MIN_OF(sizeof(filler), filled), 0);
            assert_true(n > 0);
            filled -= (size_t)n;
        }
        pair_shake(&pair);
        pair_assert_shaken(&pair);
        pair_talk(&pair);
        pair_fini(&pair);
    }
}

static void a_flood_of_key_updates_ends_the_connection(void **state)
{
    (void)state;
    struct pair pair;
    open_shaken(&pair, TLS1_3_VERSION);
    pair_talk(&pair);
    ssize_t n = 0;
    int rounds = 0;
    for (; rounds < 1000 && (n >= 0 || n == -EAGAIN); rounds++) {
        assert_true(SSL_key_update(pair.client->ssl, SSL_KEY_UPDATE_REQUESTED));
        assert_int_equal(SSL_do_handshake(pair.client->ssl), 1);
        if (tls_conn_flush(pair.client) != 0) {
            break;
        }
        char buf[16];
        n = tls_conn_recv(pair.server, buf, sizeof(buf));
    }
    assert_int_equal(n, -EPROTO);
    assert_int_equal(tls_conn_fault(pair.server), TLS_FAULT_FLOOD);
    assert_in_range(rounds, 10, 60);
    pair_fini(&pair);
}

static void key_updates_now_and_then_do_no_harm(void **state)
{
    (void)state;
    struct pair pair;
    open_shaken(&pair, TLS1_3_VERSION);
    for (int i = 0; i < 10; i++) {
        assert_true(SSL_key_update(pair.client->ssl, SSL_KEY_UPDATE_REQUESTED));
        pair_talk(&pair);
    }
    pair_fini(&pair);
}

static void nobody_renegotiates(void **state)
{
    (void)state;
    struct pair pair;
    char buf[16];
    open_shaken(&pair, TLS1_2_VERSION);
    pair_talk(&pair);
    SSL_clear_options(pair.client->ssl, SSL_OP_NO_RENEGOTIATION);
    assert_true(SSL_renegotiate(pair.client->ssl));
    assert_true(SSL_do_handshake(pair.client->ssl) <= 0);
    tls_socket_flush(pair.client);
    assert_int_equal(tls_conn_recv(pair.server, buf, sizeof(buf)), -EAGAIN);
    assert_int_equal(SSL_num_renegotiations(pair.server->ssl), 0);
    assert_true(pair.server->extras > 0);
    pair_fini(&pair);
}

static void what_is_not_tls_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum tls_fault fault;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", TLS_FAULT_NOT_TLS},
        {"CONNECT a:1 HTTP/1.1\r\n\r\n", TLS_FAULT_NOT_TLS},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", TLS_FAULT_NOT_TLS},
        {"\x16\x03\x01\xff\xff\x01\x02\x03\x04\x05\x06", TLS_FAULT_PROTOCOL},
        {"\x15\x03\x03\x01\x02\x02\x28\x01", TLS_FAULT_PROTOCOL},
        {"\x17\x03\x03\x01\x02zzzzzz", TLS_FAULT_PROTOCOL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pair pair;
        pair_open(&pair);
        pair.server = tls_server_accept(rig.servers[0], pair.server_fd, true);
        assert_non_null(pair.server);
        assert_true(write(pair.client_fd, rows[i].text, strlen(rows[i].text)) > 0);
        int rc = tls_conn_handshake(pair.server);
        if (rc == -EAGAIN) {
            close(pair.client_fd);
            pair.client_fd = -1;
            rc = tls_conn_handshake(pair.server);
        }
        assert_int_equal(rc, -EPROTO);
        if (tls_conn_fault(pair.server) != rows[i].fault && pair.client_fd >= 0) {
            fail_msg("row %zu: %s", i, tls_conn_error(pair.server));
        }
        assert_int_equal(tls_conn_handshake(pair.server), -EPROTO);
        pair_fini(&pair);
    }
}

// A conversation in which bytes of one side are broken somewhere: it fails or goes on, and nothing
// else happens (sanitizers look).
static void broken_bytes_break_the_connection_only(void **state)
{
    (void)state;
    struct tls_upstream upstream = rig_upstream(&rig, "a.example.com");
    struct rand_state rng = {.state = 7};
    unsigned failed = 0;
    for (int i = 0; i < 200; i++) {
        struct pair pair;
        char bytes[4096];
        pair_init(&pair, &rig, 0, &upstream, i % 2 ? TLS_ALPN_H2 : TLS_ALPN_HTTP1);
        int rc = tls_conn_handshake(pair.client);
        assert_int_equal(rc, -EAGAIN);
        ssize_t n = recv(pair.server_fd, bytes, sizeof(bytes), 0);
        assert_true(n > 0);
        for (uint64_t k = 1 + rand_below(&rng, 4); k > 0; k--) {
            bytes[rand_below(&rng, (uint64_t)n)] = (char)rand_u64(&rng);
        }
        assert_int_equal(write(pair.client_fd, bytes, (size_t)n), n);
        pair_shake(&pair);
        failed += pair.server_rc == -EPROTO || pair.client_rc == -EPROTO;
        pair_fini(&pair);
    }
    assert_true(failed > 50);
}

static void a_broken_record_ends_the_connection(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct pair pair;
        char bytes[512];
        open_shaken(&pair, version);
        pair_talk(&pair);
        send_text(pair.client, "hello");
        ssize_t n = recv(pair.server_fd, bytes, sizeof(bytes), 0);
        assert_true(n > 10);
        bytes[n - 1] ^= 1;
        assert_int_equal(write(pair.client_fd, bytes, (size_t)n), n);
        assert_int_equal(tls_conn_recv(pair.server, bytes, sizeof(bytes)), -EPROTO);
        assert_int_equal(tls_conn_fault(pair.server), TLS_FAULT_PROTOCOL);
        assert_int_equal(tls_conn_sendv(pair.server, &(struct iovec){bytes, 1}, 1), -EPROTO);
        assert_int_equal(tls_conn_flush(pair.server), -EPROTO);
        assert_int_equal(tls_conn_recv(pair.client, bytes, sizeof(bytes)), -EPROTO);
        assert_int_equal(tls_conn_fault(pair.client), TLS_FAULT_ALERT);
        pair_fini(&pair);
    }
}

static void an_endless_handshake_is_cut(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    pair.server = tls_server_accept(rig.servers[0], pair.server_fd, true);
    assert_non_null(pair.server);
    // A ClientHello of 128 KiB that never ends, in records of one byte.
    static const char start[] = "\x16\x03\x01\0\4\1\1\xff\xff";
    static const char more[] = "\x16\x03\x01\0\1z";
    assert_int_equal(write(pair.client_fd, start, sizeof(start) - 1), sizeof(start) - 1);
    int rc = -EAGAIN;
    size_t sent = 0;
    while (rc == -EAGAIN && sent < 1024u * 1024) {
        for (int i = 0; i < 50; i++) {
            ssize_t n = write(pair.client_fd, more, sizeof(more) - 1);
            sent += n > 0 ? (size_t)n : 0;
        }
        rc = tls_conn_handshake(pair.server);
    }
    assert_int_equal(rc, -EPROTO);
    assert_true(sent < 2u * TLS_HANDSHAKE_MAX);
    pair_fini(&pair);
}

static void errors_of_others_do_not_count(void **state)
{
    (void)state;
    struct pair pair;
    char buf[8];
    open_shaken(&pair, TLS1_3_VERSION);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    assert_int_equal(tls_conn_recv(pair.server, buf, sizeof(buf)), -EAGAIN);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    pair_talk(&pair);
    assert_int_equal(ERR_peek_error(), 0);
    pair_fini(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(both_versions_shake_hands_and_talk),
        TEST(an_older_version_is_refused),
        TEST(nothing_is_there_is_told_apart_from_the_end),
        TEST(an_end_without_close_notify_is_an_error),
        TEST(an_end_right_behind_a_ticket_is_found),
        TEST(an_end_inside_a_record_is_found),
        TEST(a_peer_that_leaves_in_the_handshake_is_closed),
        TEST(pieces_go_out_as_one_record),
        TEST(much_data_passes_small_sockets_unharmed),
        TEST(what_waits_for_a_slow_reader_is_bounded),
        TEST(who_is_not_done_is_told_so),
        TEST(what_came_with_the_handshake_is_received),
        TEST(a_handshake_goes_through_a_small_socket),
        TEST(a_flood_of_key_updates_ends_the_connection),
        TEST(key_updates_now_and_then_do_no_harm),
        TEST(nobody_renegotiates),
        TEST(what_is_not_tls_is_refused),
        TEST(broken_bytes_break_the_connection_only),
        TEST(a_broken_record_ends_the_connection),
        TEST(an_endless_handshake_is_cut),
        TEST(errors_of_others_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
