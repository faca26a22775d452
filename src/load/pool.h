// Connections to one target, kept alive between requests. One thread.
#pragma once

#include "base/list.h"
#include "event/loop.h"
#include "load/config.h"

struct load_pool;
struct load_conn;

// What happens on a connection that is in use.
typedef void load_conn_cb(struct load_conn *conn, uint32_t events, void *arg);

struct load_conn {
    struct load_pool *pool;
    struct list_node node; // in pool->idle when it is
    struct io io;
    bool connecting;
    bool reused; // has carried a request before
    load_conn_cb *cb;
    void *arg;
};

struct load_pool {
    struct loop *loop;
    const struct load_target *target;
    struct list_node idle;
    unsigned address; // the one that is used
    bool reached;     // a connection has come about
};

void load_pool_init(struct load_pool *pool, struct loop *loop, const struct load_target *target);
void load_pool_fini(struct load_pool *pool); // closes what is idle

// An idle connection, or NULL.
struct load_conn *load_pool_take(struct load_pool *pool);

// Begins a new connection: when cb comes with EPOLLOUT, load_conn_connected tells how it went.
// NULL with *ret_errno when it cannot even be begun.
struct load_conn *load_pool_open(struct load_pool *pool, int *ret_errno);

// Gives a connection back, open and with nothing under way.
void load_pool_give(struct load_conn *conn);

void load_conn_close(struct load_conn *conn);

// Who is told from now on.
void load_conn_use(struct load_conn *conn, load_conn_cb *cb, void *arg);

// After the first event of a new connection: 0, or -errno. *ret_try_next: the target has another
// address that was not tried yet (localhost is often ::1 first), and none ever worked.
MUST_CHECK int load_conn_connected(struct load_conn *conn, bool *ret_try_next);

// Writes as much as goes and subscribes to EPOLLOUT for the rest. Bytes written, or -errno.
ssize_t load_conn_send(struct load_conn *conn, struct slice data);
