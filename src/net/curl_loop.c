#include "net/curl_loop.h"

#include <errno.h>
#include <stdlib.h>

#include "base/list.h"

struct sock {
    struct list_node node;
    struct io io;
    struct curl_loop *owner;
};

enum { IDLE_CONNECTIONS_MAX = 64 };

enum transfer_state { TRANSFER_QUEUED, TRANSFER_RUNNING, TRANSFER_DROPPED };

struct transfer {
    struct list_node node; // in curl_loop.transfers, or .queued or .dropped
    CURL *easy;
    curl_loop_done *done;
    void *arg;
    enum transfer_state state;
};

struct curl_loop {
    struct loop *loop;
    CURLM *multi;
    struct timer timer;
    struct task kick; // work that had to wait until libcurl was left
    struct list_node socks;
    struct list_node transfers; // running
    struct list_node queued;    // added from inside a libcurl callback
    struct list_node dropped;   // dropped from inside a libcurl callback
    unsigned int inside; // > 0: libcurl is on the stack and must not be entered again
    bool dispatching;    // done callbacks are being called
    bool freed;          // by one of them; the memory goes when they are through
};

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *sock_arg);
static int on_timeout(CURLM *multi, long timeout_ms, void *arg);

int curl_loop_new(struct loop *loop, struct curl_loop **ret_curl, struct error *err)
{
    struct curl_loop *curl = calloc(1, sizeof(*curl));
    if (curl == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(curl);
        return error_set(err, -ENOMEM, "cannot set up libcurl");
    }
    curl->multi = curl_multi_init();
    if (curl->multi == NULL) {
        curl_global_cleanup();
        free(curl);
        return error_set(err, -ENOMEM, "out of memory");
    }
    curl->loop = loop;
    list_init(&curl->socks);
    list_init(&curl->transfers);
    list_init(&curl->queued);
    list_init(&curl->dropped);
    curl_multi_setopt(curl->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(curl->multi, CURLMOPT_SOCKETDATA, curl);
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERDATA, curl);
    curl_multi_setopt(curl->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS_MAX);
    *ret_curl = curl;
    return 0;
}

static void transfer_free(struct curl_loop *curl, struct transfer *t)
{
    list_remove(&t->node);
    if (t->state != TRANSFER_QUEUED) {
        curl->inside++;
        curl_multi_remove_handle(curl->multi, t->easy);
        curl->inside--;
    }
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, NULL);
    if (t->state == TRANSFER_DROPPED) {
        curl_easy_cleanup(t->easy);
    }
    free(t);
}

static void release(struct curl_loop *curl)
{
    curl_multi_cleanup(curl->multi);
    while (!list_empty(&curl->socks)) { // connections that libcurl let go of without a word
        struct sock *sock = list_first(&curl->socks, struct sock, node);
        loop_io_del(curl->loop, &sock->io);
        list_remove(&sock->node);
        free(sock);
    }
    loop_timer_cancel(curl->loop, &curl->timer);
    loop_task_cancel(curl->loop, &curl->kick);
    curl_global_cleanup();
    free(curl);
}

void curl_loop_free(struct curl_loop *curl)
{
    if (curl == NULL) {
        return;
    }
    BUG_ON(curl->inside != 0);
    struct list_node *lists[] = {&curl->transfers, &curl->queued, &curl->dropped};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        while (!list_empty(lists[i])) {
            transfer_free(curl, list_first(lists[i], struct transfer, node));
        }
    }
    curl->freed = true;
    if (!curl->dispatching) {
        release(curl);
    }
}

// Tells the makers of ended transfers. Each of them may add, remove, and free us.
static void dispatch_done(struct curl_loop *curl)
{
    int left = 0;
    for (CURLMsg *msg; !curl->freed && (msg = curl_multi_info_read(curl->multi, &left)) != NULL;) {
        if (msg->msg != CURLMSG_DONE) {
            continue;
        }
        struct transfer *t = NULL;
        CURL *easy = msg->easy_handle;
        CURLcode result = msg->data.result; // msg dies with the removal of the handle
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
        if (t == NULL || t->state != TRANSFER_RUNNING) {
            continue; // dropped meanwhile
        }
        curl_loop_done *done = t->done;
        void *arg = t->arg;
        transfer_free(curl, t);
        done(easy, result, arg);
    }
}

static void start(struct curl_loop *curl, struct transfer *t)
{
    list_remove(&t->node);
    list_push_back(&curl->transfers, &t->node);
    t->state = TRANSFER_RUNNING;
    curl->inside++;
    CURLMcode rc = curl_multi_add_handle(curl->multi, t->easy);
    curl->inside--;
    if (rc != CURLM_OK) { // out of memory: the maker hears it as the end of the transfer
        curl_loop_done *done = t->done;
        CURL *easy = t->easy;
        void *arg = t->arg;
        transfer_free(curl, t);
        done(easy, CURLE_OUT_OF_MEMORY, arg);
    }
}

// Once libcurl is left: what its callbacks asked for. The last thing that a callback of the loop
// does, for we may be gone afterwards.
static void settle(struct curl_loop *curl)
{
    while (!list_empty(&curl->dropped)) {
        transfer_free(curl, list_first(&curl->dropped, struct transfer, node));
    }
    curl->dispatching = true;
    dispatch_done(curl);
    curl->dispatching = false;
    if (curl->freed) {
        release(curl);
    }
}

static void act(struct curl_loop *curl, curl_socket_t fd, int events)
{
    int running = 0;
    curl->inside++;
    curl_multi_socket_action(curl->multi, fd, events, &running);
    curl->inside--;
    settle(curl);
}

static void on_io(struct io *io, uint32_t events, void *arg)
{
    struct sock *sock = arg;
    int what = 0;
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0) {
        what |= CURL_CSELECT_IN;
    }
    if ((events & EPOLLOUT) != 0) {
        what |= CURL_CSELECT_OUT;
    }
    if ((events & EPOLLERR) != 0) {
        what |= CURL_CSELECT_ERR;
    }
    act(sock->owner, io->fd, what);
}

static void on_timer(struct timer *timer, void *arg)
{
    (void)timer;
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timeout(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    struct curl_loop *curl = arg;
    if (timeout_ms < 0) {
        loop_timer_cancel(curl->loop, &curl->timer);
    } else {
        loop_timer_set(curl->loop, &curl->timer, (uint64_t)timeout_ms, on_timer, curl);
    }
    return 0;
}

static void forget_socket(struct curl_loop *curl, struct sock *sock, curl_socket_t fd)
{
    loop_io_del(curl->loop, &sock->io);
    list_remove(&sock->node);
    free(sock);
    curl_multi_assign(curl->multi, fd, NULL);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *sock_arg)
{
    (void)easy;
    struct curl_loop *curl = arg;
    struct sock *sock = sock_arg;
    if (what == CURL_POLL_REMOVE) {
        if (sock != NULL) {
            forget_socket(curl, sock, fd);
        }
        return 0;
    }
    uint32_t events = 0;
    if ((what & CURL_POLL_IN) != 0) {
        events |= EPOLLIN;
    }
    if ((what & CURL_POLL_OUT) != 0) {
        events |= EPOLLOUT;
    }
    if (sock != NULL) {
        if (loop_io_mod(curl->loop, &sock->io, events) == 0) {
            return 0;
        }
        // The number was closed and given out again: the kernel forgot our subscription.
        loop_io_del(curl->loop, &sock->io);
        return loop_io_add(curl->loop, &sock->io, fd, events, on_io, sock) == 0 ? 0 : -1;
    }
    sock = calloc(1, sizeof(*sock));
    if (sock == NULL) {
        return -1; // libcurl fails the transfers of the multi handle
    }
    sock->owner = curl;
    if (loop_io_add(curl->loop, &sock->io, fd, events, on_io, sock) != 0) {
        free(sock);
        return -1;
    }
    list_push_back(&curl->socks, &sock->node);
    curl_multi_assign(curl->multi, fd, sock);
    return 0;
}

static void on_kick(struct task *task, void *arg)
{
    (void)task;
    struct curl_loop *curl = arg;
    size_t batch = 0; // what a done callback adds again waits for the next turn
    list_for_each(&curl->queued, node) {
        batch++;
    }
    curl->dispatching = true;
    while (batch-- > 0 && !list_empty(&curl->queued)) {
        start(curl, list_first(&curl->queued, struct transfer, node));
    }
    settle(curl);
}

int curl_loop_add(struct curl_loop *curl, CURL *easy, curl_loop_done *done, void *arg)
{
    struct transfer *t = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
    if (t != NULL) {
        return -EBUSY;
    }
    t = calloc(1, sizeof(*t));
    if (t == NULL) {
        return -ENOMEM;
    }
    *t = (struct transfer){.easy = easy, .done = done, .arg = arg, .state = TRANSFER_QUEUED};
    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    list_push_back(&curl->queued, &t->node);
    loop_task_set(curl->loop, &curl->kick, on_kick, curl);
    return 0;
}

static size_t refuse(char *data, size_t size, size_t count, void *arg)
{
    (void)data;
    (void)size;
    (void)count;
    (void)arg;
    return CURL_WRITEFUNC_ERROR;
}

void curl_loop_drop(struct curl_loop *curl, CURL *easy)
{
    struct transfer *t = NULL;
    if (easy == NULL) {
        return;
    }
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
    if (t == NULL) {
        curl_easy_cleanup(easy);
        return;
    }
    if (t->state == TRANSFER_DROPPED) {
        return;
    }
    if (curl->inside == 0 || t->state == TRANSFER_QUEUED) {
        transfer_free(curl, t);
        curl_easy_cleanup(easy);
        return;
    }
    t->state = TRANSFER_DROPPED;
    list_remove(&t->node);
    list_push_back(&curl->dropped, &t->node);
    // Nothing of the maker's may be touched from here on.
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, refuse);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, refuse);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
    loop_task_set(curl->loop, &curl->kick, on_kick, curl);
}

CURL *curl_loop_easy(void)
{
    CURL *easy = curl_easy_init();
    if (easy == NULL) {
        return NULL;
    }
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); // the environment's proxies are for people
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
    return easy;
}
