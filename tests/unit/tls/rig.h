// Two workers' TLS and connections between them over socket pairs.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "certs.h"
#include "tls/client.h"
#include "tls/internal.h"
#include "tls/server.h"

struct rig {
    struct tls_tickets *tickets;
    struct tls_worker *workers[2]; // servers'
    struct tls_server *servers[2];
    struct tls_worker *client_worker;
    struct tls_client *client;
    struct map index;
    struct certs_authority root;
    struct certs_authority stranger; // that nobody trusts
    struct tls_trust trust;
    struct tls_trust strange_trust;
    struct tls_identity identity;
    struct tls_host hosts[8];
    size_t host_count;
};

struct pair {
    int server_fd;
    int client_fd;
    struct tls_conn *server;
    struct tls_conn *client;
    int server_rc;
    int client_rc;
};

static inline const struct tls_host *rig_lookup(void *arg, struct slice name)
{
    struct rig *rig = arg;
    ptrdiff_t dot = slice_find_byte(name, '.');
    const struct tls_host *host = map_get(&rig->index, name);
    if (host == NULL && dot > 0) {
        char wildcard[256];
        snprintf(wildcard, sizeof(wildcard), "*%.*s", SLICE_FMT(slice_skip(name, (size_t)dot)));
        host = map_get(&rig->index, slice_of_str(wildcard));
    }
    return host != NULL ? host : map_get(&rig->index, SLICE(""));
}

static inline struct tls_host *rig_host(struct rig *rig, const char *name,
                                        const struct tls_identity *identity)
{
    struct tls_host *host = &rig->hosts[rig->host_count++];
    *host = (struct tls_host){.name = slice_of_str(name), .identity = identity};
    assert_int_equal(map_put(&rig->index, host->name, host, NULL), 0);
    return host;
}

static inline void rig_no_hosts(struct rig *rig)
{
    map_fini(&rig->index);
    rig->host_count = 0;
}

static inline void rig_init(struct rig *rig)
{
    struct error err = ERROR_INIT;
    *rig = (struct rig){.host_count = 0};
    assert_int_equal(tls_tickets_new(TLS_TICKET_PERIOD_MS, 0, &rig->tickets), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tls_worker_new(&rig->workers[i], &err), 0);
        assert_int_equal(tls_server_new(rig->workers[i], rig->tickets, rig_lookup, rig,
                                        &rig->servers[i], &err), 0);
    }
    assert_int_equal(tls_worker_new(&rig->client_worker, &err), 0);
    assert_int_equal(tls_client_new(rig->client_worker, &rig->client, &err), 0);
    rig->root = certs_root("root");
    rig->stranger = certs_root("stranger");
    rig->trust = certs_trust(&rig->root);
    rig->strange_trust = certs_trust(&rig->stranger);
    rig->identity = certs_identity(
        &rig->root, (struct certs_spec){.common_name = "server",
                                        .san = "DNS:a.example.com,DNS:b.example.com"});
}

static inline void rig_fini(struct rig *rig)
{
    for (int i = 0; i < 2; i++) {
        tls_server_free(rig->servers[i]);
        tls_worker_free(rig->workers[i]);
    }
    tls_client_free(rig->client);
    tls_worker_free(rig->client_worker);
    tls_tickets_free(rig->tickets);
    map_fini(&rig->index);
    certs_drop(&rig->root);
    certs_drop(&rig->stranger);
    certs_free();
}

// An upstream that trusts the root; the digest is of `name` and the rest that is set.
static inline struct tls_upstream rig_upstream(struct rig *rig, const char *name)
{
    struct tls_upstream upstream = {.trust = &rig->trust, .server_name = slice_of_str(name)};
    certs_digest(rig->trust.ca_pem, upstream.server_name, upstream.digest);
    return upstream;
}

static inline void rig_rehash(struct tls_upstream *upstream)
{
    char text[3 * TLS_DIGEST_LEN];
    memset(text, 0, sizeof(text));
    if (upstream->trust != NULL) {
        memcpy(text, upstream->trust->digest, TLS_DIGEST_LEN);
    }
    if (upstream->identity != NULL) {
        memcpy(text + TLS_DIGEST_LEN, upstream->identity->digest, TLS_DIGEST_LEN);
    }
    text[sizeof(text) - 1] = upstream->insecure;
    certs_digest(slice_of(text, sizeof(text)), upstream->server_name, upstream->digest);
}

static inline struct sockaddr_in rig_address(uint32_t host, uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(host)};
}

static inline void pair_open(struct pair *pair)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    *pair = (struct pair){.server_fd = fds[0], .client_fd = fds[1]};
}

// A pair whose sides have not said anything yet.
static inline void pair_init(struct pair *pair, struct rig *rig, int worker,
                             const struct tls_upstream *upstream, enum tls_alpn alpn)
{
    struct error err = ERROR_INIT;
    struct sockaddr_in address = rig_address(INADDR_LOOPBACK, 8443);
    pair_open(pair);
    pair->server = tls_server_accept(rig->servers[worker], pair->server_fd, true);
    assert_non_null(pair->server);
    pair->client = tls_client_connect(rig->client, pair->client_fd, upstream,
                                      (const struct sockaddr *)&address, alpn, &err);
    if (pair->client == NULL) {
        fail_msg("%s", err.text);
    }
}

// Both sides in turn until neither has anything to do.
static inline void pair_shake(struct pair *pair)
{
    pair->client_rc = pair->server_rc = -EAGAIN;
    for (int i = 0; i < 50; i++) {
        if (pair->client_rc == -EAGAIN) {
            pair->client_rc = tls_conn_handshake(pair->client);
        }
        if (pair->server_rc == -EAGAIN) {
            pair->server_rc = tls_conn_handshake(pair->server);
        }
    }
}

static inline void pair_fini(struct pair *pair)
{
    tls_conn_free(pair->server);
    tls_conn_free(pair->client);
    if (pair->server_fd >= 0) {
        close(pair->server_fd);
    }
    if (pair->client_fd >= 0) {
        close(pair->client_fd);
    }
}

static inline void pair_assert_shaken(const struct pair *pair)
{
    if (pair->client_rc != 0 || pair->server_rc != 0) {
        fail_msg("client %d: %s; server %d: %s", pair->client_rc, tls_conn_error(pair->client),
                 pair->server_rc, tls_conn_error(pair->server));
    }
}

static inline void send_text(struct tls_conn *conn, const char *text)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    assert_int_equal(tls_conn_sendv(conn, &iov, 1), strlen(text));
}

static inline void expect_text(struct tls_conn *conn, const char *text)
{
    char buf[256];
    ssize_t n = tls_conn_recv(conn, buf, sizeof(buf));
    assert_int_equal(n, strlen(text));
    assert_memory_equal(buf, text, strlen(text));
}

// Tickets of TLS 1.3 come with the first data.
static inline void pair_talk(struct pair *pair)
{
    send_text(pair->client, "ping");
    expect_text(pair->server, "ping");
    send_text(pair->server, "pong");
    expect_text(pair->client, "pong");
}
