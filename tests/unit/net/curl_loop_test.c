#include "net/curl_loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

// One listener on the loop under test; every connection gets the same answer to each read.
struct server {
    struct loop *loop;
    struct io listen_io;
    struct io conns[16];
    size_t n_conns;
    const char *answer; // NULL: stay silent
    bool close_after;
    char url[64];
};

static void on_conn(struct io *io, uint32_t events, void *arg)
{
    (void)events;
    struct server *s = arg;
    char buf[4096];
    ssize_t n = read(io->fd, buf, sizeof(buf));
    if (n > 0 && s->answer != NULL) {
        assert_int_equal(write(io->fd, s->answer, strlen(s->answer)), (ssize_t)strlen(s->answer));
    }
    if (n <= 0 || s->close_after) {
        loop_io_del(s->loop, io);
        close(io->fd);
    }
}

static void on_accept(struct io *io, uint32_t events, void *arg)
{
    (void)events;
    struct server *s = arg;
    int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0 && s->n_conns < ARRAY_LEN(s->conns));
    assert_int_equal(loop_io_add(s->loop, &s->conns[s->n_conns++], fd, EPOLLIN, on_conn, s), 0);
}

struct fixture {
    struct loop *loop;
    struct curl_loop *curl;
    struct server server;
    int done;
    CURLcode result;
    size_t received;
    bool drop_in_write;
    bool again_in_done;
    bool free_in_done;
    CURL *easy;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    assert_int_equal(curl_loop_new(f->loop, &f->curl, NULL), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    f->server.loop = f->loop;
    f->server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    snprintf(f->server.url, sizeof(f->server.url), "http://127.0.0.1:%d/", ntohs(addr.sin_port));
    assert_int_equal(loop_io_add(f->loop, &f->server.listen_io, fd, EPOLLIN, on_accept, &f->server),
                     0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    curl_loop_free(f->curl);
    for (size_t i = 0; i < f->server.n_conns; i++) {
        if (f->server.conns[i].events != 0) {
            close(f->server.conns[i].fd);
        }
    }
    close(f->server.listen_io.fd);
    loop_free(f->loop);
    free(f);
    return 0;
}

static void on_done(CURL *easy, CURLcode result, void *arg)
{
    struct fixture *f = arg;
    f->done++;
    f->result = result;
    if (f->again_in_done && f->done == 1) {
        assert_int_equal(curl_loop_add(f->curl, easy, on_done, f), 0);
        return;
    }
    curl_easy_cleanup(easy);
    if (f->free_in_done) {
        curl_loop_free(f->curl);
        f->curl = NULL;
    }
}

static size_t on_data(char *data, size_t size, size_t count, void *arg)
{
    (void)data;
    struct fixture *f = arg;
    f->received += size * count;
    if (f->drop_in_write) {
        curl_loop_drop(f->curl, f->easy);
        return CURL_WRITEFUNC_ERROR;
    }
    return size * count;
}

static CURL *begin(struct fixture *f, const char *url)
{
    CURL *easy = curl_loop_easy();
    assert_non_null(easy);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, f);
    f->easy = easy;
    assert_int_equal(curl_loop_add(f->curl, easy, on_done, f), 0);
    return easy;
}

static void turn_until(struct fixture *f, int done)
{
    for (int i = 0; i < 5000 && f->done < done; i++) {
        loop_turn(f->loop, 20);
    }
    assert_int_equal(f->done, done);
}

static void a_transfer_ends_with_its_result(void **state)
{
    struct fixture *f = *state;
    CURL *easy = begin(f, f->server.url);
    assert_int_equal(curl_loop_add(f->curl, easy, on_done, f), -EBUSY);
    assert_int_equal(f->done, 0);
    turn_until(f, 1);
    assert_int_equal(f->result, CURLE_OK);
    assert_int_equal(f->received, 5);
}

static void a_handle_can_be_added_again_in_done_and_reuses_its_connection(void **state)
{
    struct fixture *f = *state;
    f->again_in_done = true;
    begin(f, f->server.url);
    turn_until(f, 2);
    assert_int_equal(f->received, 10);
    assert_int_equal(f->server.n_conns, 1);
}

static void a_refused_connection_is_a_result(void **state)
{
    struct fixture *f = *state;
    begin(f, "http://127.0.0.1:1/");
    turn_until(f, 1);
    assert_int_equal(f->result, CURLE_COULDNT_CONNECT);
}

static void a_timeout_is_a_result(void **state)
{
    struct fixture *f = *state;
    f->server.answer = NULL;
    CURL *easy = begin(f, f->server.url);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 50L);
    turn_until(f, 1);
    assert_int_equal(f->result, CURLE_OPERATION_TIMEDOUT);
}

static void a_dropped_transfer_never_calls_done(void **state)
{
    struct fixture *f = *state;
    f->server.answer = NULL;
    CURL *easy = begin(f, f->server.url);
    for (int i = 0; i < 5000 && f->server.n_conns == 0; i++) {
        loop_turn(f->loop, 20);
    }
    curl_loop_drop(f->curl, easy);
    loop_turn(f->loop, 5);
    assert_int_equal(f->done, 0);
}

static void a_transfer_may_be_dropped_before_it_started(void **state)
{
    struct fixture *f = *state;
    CURL *easy = begin(f, f->server.url);
    curl_loop_drop(f->curl, easy);
    curl_loop_drop(f->curl, NULL);
    loop_turn(f->loop, 5);
    assert_int_equal(f->done, 0);
    assert_int_equal(f->server.n_conns, 0);
}

static void a_transfer_may_be_dropped_in_its_own_write_callback(void **state)
{
    struct fixture *f = *state;
    f->drop_in_write = true;
    begin(f, f->server.url);
    for (int i = 0; i < 5000 && f->received == 0; i++) {
        loop_turn(f->loop, 20);
    }
    loop_turn(f->loop, 5);
    assert_int_equal(f->received, 5);
    assert_int_equal(f->done, 0);
}

static void the_loop_may_be_freed_in_done_with_others_running(void **state)
{
    struct fixture *f = *state;
    f->free_in_done = true;
    begin(f, f->server.url);
    CURL *first = f->easy;
    begin(f, "http://127.0.0.1:1/");
    CURL *second = f->easy;
    for (int i = 0; i < 5000 && f->done == 0; i++) {
        loop_turn(f->loop, 20);
    }
    assert_int_equal(f->done, 1);
    assert_null(f->curl);
    // The other one was taken off and stays its maker's.
    curl_easy_cleanup(f->result == CURLE_OK ? second : first);
    loop_turn(f->loop, 5);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_transfer_ends_with_its_result),
        CASE(a_handle_can_be_added_again_in_done_and_reuses_its_connection),
        CASE(a_refused_connection_is_a_result),
        CASE(a_timeout_is_a_result),
        CASE(a_dropped_transfer_never_calls_done),
        CASE(a_transfer_may_be_dropped_before_it_started),
        CASE(a_transfer_may_be_dropped_in_its_own_write_callback),
        CASE(the_loop_may_be_freed_in_done_with_others_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
