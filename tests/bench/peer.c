// Both ends of a proxy under measurement, in one process and one epoll loop: the backend that
// answers, and the clients that ask. One process, because every context switch saved on this side
// keeps the load from being the bottleneck.
//
//   peer PORT...          backends listen on 127.0.0.1:PORT...; commands come on stdin, one a line,
//                         each is answered with one line of JSON on stdout:
//   load PORT CONNECTIONS FILE requests|streams
//                         opens connections to the proxy; each sends the bytes of FILE; with
//                         "requests" again and again, with "streams" once, reading events for ever
//   rate N                ("requests") each connection waits for its turn: N a second in all,
//                         evenly spaced; 0: the next request follows the answer at once
//   pace MS               the backend sends an event to each stream every MS milliseconds
//   count                 what was seen since the last reset
//   reset | stop | quit
//
// Backend: GET /metrics gives a small exposition, another GET 1 KB of text, a POST 1 KB of JSON, a
// POST whose body holds "stream":true an endless event stream. Not part of the product: it trusts
// what it reads.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKEND_BUF = 16384,
    CLIENT_BUF = 16384,
    PACE_MAX = 1000,
    LATENCY_MAX_US = 200000,
    CONNECTS_A_TICK = 40,
    ANSWER_SIZE = 1024,
};

enum kind { LISTENER, BACKEND, CLIENT, CONTROL, TICK };

struct conn {
    enum kind kind;
    int fd;
    // backend: a request that is not complete yet; client: a response head that is not
    char *buf;
    size_t len;
    // backend, while it streams
    bool streaming;
    size_t skip; // bytes of a long request that are still to come
    struct conn *next_in_slot;
    struct conn **link;
    // client
    bool connected;
    bool in_body;
    char last;
    size_t body_left;
    uint64_t sent_ns; // streams: when bytes last came
    size_t sent; // of the request
    struct conn *next_client;
    struct conn *next_idle; // waits for its turn
};

static struct {
    int epoll_fd;
    struct conn *slots[PACE_MAX];
    unsigned pace_ms;
    uint64_t tick;
    uint64_t next_slot;
    struct conn *clients;
    struct sockaddr_in target;
    unsigned to_open;
    char *request;
    size_t request_len;
    bool streams;
    unsigned rate;
    uint64_t due_ns; // when the next turn is
    struct conn *idle;
    uint64_t requests;
    uint64_t served; // by the backend, pages of metrics aside
    uint64_t events;
    uint64_t errors;
    uint64_t skipped;
    uint64_t open;
    uint64_t streaming; // of the backend's connections
    uint64_t pause_ns; // the longest that a stream waited for bytes
    uint32_t latency_us[LATENCY_MAX_US + 1];
} peer;

static char answer_text[ANSWER_SIZE + 256];
static char answer_json[ANSWER_SIZE + 256];
static char answer_metrics[2048];
static char stream_head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                            "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
static char event_chunk[256];

static void die(const char *what)
{
    fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void answer_init(char *out, size_t size, const char *type, const char *body)
{
    snprintf(out, size,
             "HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n%s", type,
             strlen(body), body);
}

static void answers_init(void)
{
    char body[ANSWER_SIZE + 1];
    memset(body, 'x', ANSWER_SIZE);
    body[ANSWER_SIZE] = '\0';
    answer_init(answer_text, sizeof(answer_text), "text/plain", body);

    // A chat completion that is exactly as long.
    static const char head[] =
        "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,"
        "\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\","
        "\"message\":{\"role\":\"assistant\",\"content\":\"";
    static const char tail[] =
        "\"}}],\"usage\":{\"prompt_tokens\":900,\"completion_tokens\":180,\"total_tokens\":1080}}";
    memcpy(body, head, sizeof(head) - 1);
    memcpy(body + ANSWER_SIZE - (sizeof(tail) - 1), tail, sizeof(tail) - 1);
    answer_init(answer_json, sizeof(answer_json), "application/json", body);

    answer_init(answer_metrics, sizeof(answer_metrics), "text/plain; version=0.0.4; charset=utf-8",
                "# TYPE vllm:num_requests_running gauge\n"
                "vllm:num_requests_running{engine=\"0\",model_name=\"bench-model\"} 1.0\n"
                "# TYPE vllm:num_requests_waiting gauge\n"
                "vllm:num_requests_waiting{engine=\"0\",model_name=\"bench-model\"} 0.0\n"
                "# TYPE vllm:kv_cache_usage_perc gauge\n"
                "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"bench-model\"} 0.25\n"
                "# TYPE vllm:cache_config_info gauge\n"
                "vllm:cache_config_info{engine=\"0\",num_gpu_blocks=\"100000\",block_size=\"16\"} "
                "1.0\n");

    static const char event[] =
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\","
        "\"model\":\"bench-model\",\"choices\":[{\"delta\":{\"content\":\" the\"}}]}\n\n";
    snprintf(event_chunk, sizeof(event_chunk), "%zx\r\n%s\r\n", sizeof(event) - 1, event);
}

static struct conn *conn_new(enum kind kind, int fd)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        die("calloc");
    }
    conn->kind = kind;
    conn->fd = fd;
    if (kind == BACKEND || kind == CLIENT) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        conn->buf = malloc(kind == BACKEND ? BACKEND_BUF : CLIENT_BUF);
        if (conn->buf == NULL) {
            die("malloc");
        }
    }
    struct epoll_event ev = {.events = kind == CLIENT ? EPOLLOUT : EPOLLIN, .data.ptr = conn};
    if (epoll_ctl(peer.epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0) {
        die("epoll_ctl");
    }
    return conn;
}

// The memory goes at the end of the turn: events of this batch may still point at it.
static struct conn *graveyard;

static void conn_close(struct conn *conn)
{
    if (conn->fd < 0) {
        return;
    }
    close(conn->fd);
    conn->fd = -1;
    peer.streaming -= conn->streaming;
    if (conn->link != NULL) {
        *conn->link = conn->next_in_slot;
        if (conn->next_in_slot != NULL) {
            conn->next_in_slot->link = conn->link;
        }
    }
    conn->next_in_slot = graveyard;
    graveyard = conn;
}

static void bury(void)
{
    while (graveyard != NULL) {
        struct conn *conn = graveyard;
        graveyard = conn->next_in_slot;
        if (conn->kind == CLIENT) {
            struct conn **at = &peer.clients;
            while (*at != NULL && *at != conn) {
                at = &(*at)->next_client;
            }
            if (*at == conn) {
                *at = conn->next_client;
            }
        }
        free(conn->buf);
        free(conn);
    }
}

static bool send_all(int fd, const char *data, size_t len)
{
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
    return n == (ssize_t)len;
}

// ---- backend --------------------------------------------------------------------------------

static void stream_start(struct conn *conn)
{
    conn->streaming = true;
    peer.streaming++;
    struct conn **slot = &peer.slots[peer.next_slot++ % peer.pace_ms];
    conn->next_in_slot = *slot;
    conn->link = slot;
    if (*slot != NULL) {
        (*slot)->link = &conn->next_in_slot;
    }
    *slot = conn;
    if (!send_all(conn->fd, stream_head, sizeof(stream_head) - 1)) {
        peer.errors++;
    }
}

static void stream_tick(void)
{
    struct conn *next;
    size_t len = strlen(event_chunk);
    for (struct conn *conn = peer.slots[peer.tick++ % peer.pace_ms]; conn != NULL; conn = next) {
        next = conn->next_in_slot;
        ssize_t n = send(conn->fd, event_chunk, len, MSG_NOSIGNAL);
        if (n == (ssize_t)len) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            peer.skipped++;
        } else {
            conn_close(conn);
        }
    }
}

static size_t content_length(const char *head, size_t len)
{
    for (const char *p = head; p < head + len;) {
        const char *nl = memchr(p, '\n', (size_t)(head + len - p));
        if (nl == NULL) {
            break;
        }
        if ((*p | 0x20) == 'c' && nl - p > 15 && strncasecmp(p, "content-length:", 15) == 0) {
            return strtoul(p + 15, NULL, 10);
        }
        p = nl + 1;
    }
    return 0;
}

// Answers what is complete in the buffer; false when the connection is to be closed.
static bool backend_answer(struct conn *conn)
{
    while (conn->len > 0 && !conn->streaming) {
        char *end = memmem(conn->buf, conn->len, "\r\n\r\n", 4);
        if (end == NULL) {
            return conn->len < BACKEND_BUF;
        }
        size_t head = (size_t)(end - conn->buf) + 4;
        bool post = conn->buf[0] == 'P';
        size_t total = head + (post ? content_length(conn->buf, head) : 0);
        if (total > BACKEND_BUF && conn->len == BACKEND_BUF) {
            conn->skip = total - conn->len; // read on, look no more
            conn->len = 0;
            return true;
        }
        if (conn->len < total) {
            return true;
        }
        const char *answer = post ? answer_json : answer_text;
        if (post && memmem(conn->buf + head, total - head, "\"stream\":true", 13) != NULL) {
            answer = NULL;
        } else if (!post && conn->len > 12 && memcmp(conn->buf, "GET /metrics", 12) == 0) {
            answer = answer_metrics;
        }
        peer.served += answer != answer_metrics;
        memmove(conn->buf, conn->buf + total, conn->len - total);
        conn->len -= total;
        if (answer == NULL) {
            stream_start(conn);
        } else if (!send_all(conn->fd, answer, strlen(answer))) {
            return false;
        }
    }
    return true;
}

static void backend_ready(struct conn *conn)
{
    size_t room = BACKEND_BUF - conn->len;
    room = conn->skip != 0 && conn->skip < room ? conn->skip : room;
    ssize_t n = recv(conn->fd, conn->buf + conn->len, room, MSG_DONTWAIT);
    if (n > 0 && conn->skip != 0) {
        conn->skip -= (size_t)n;
        peer.served += conn->skip == 0;
        if (conn->skip == 0 && !send_all(conn->fd, answer_json, strlen(answer_json))) {
            conn_close(conn);
        }
        return;
    }
    if (n > 0) {
        conn->len += (size_t)n;
    }
    if (n == 0 || (n < 0 && errno != EAGAIN) || !backend_answer(conn)) {
        conn_close(conn);
    }
}

static void backend_accept(struct conn *listener)
{
    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        backend_ready(conn_new(BACKEND, fd));
    }
}

static void backend_listen(const char *port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, 4096) != 0) {
        die("listen");
    }
    conn_new(LISTENER, fd);
}

// ---- clients --------------------------------------------------------------------------------

static void client_fail(struct conn *conn)
{
    for (struct conn **at = &peer.idle; *at != NULL; at = &(*at)->next_idle) {
        if (*at == conn) {
            *at = conn->next_idle;
            break;
        }
    }
    peer.errors++;
    peer.open--;
    conn_close(conn);
}

static void client_send_rest(struct conn *conn)
{
    bool waited = conn->sent != 0;
    ssize_t n = send(conn->fd, peer.request + conn->sent, peer.request_len - conn->sent,
                     MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        client_fail(conn);
        return;
    }
    conn->sent += n > 0 ? (size_t)n : 0;
    bool all = conn->sent == peer.request_len;
    if (waited || !all) {
        struct epoll_event ev = {.events = all ? EPOLLIN : EPOLLIN | EPOLLOUT, .data.ptr = conn};
        if (epoll_ctl(peer.epoll_fd, EPOLL_CTL_MOD, conn->fd, &ev) != 0) {
            die("epoll_ctl");
        }
    }
}

static void client_send(struct conn *conn, uint64_t due_ns)
{
    conn->sent_ns = due_ns;
    conn->sent = 0;
    client_send_rest(conn);
}

static void client_next(struct conn *conn)
{
    if (peer.rate == 0 || peer.streams) {
        client_send(conn, now_ns());
        return;
    }
    conn->next_idle = peer.idle;
    peer.idle = conn;
}

// Who is due sends; when nobody is free, the wait counts.
static void clients_tick(void)
{
    uint64_t now = now_ns();
    while (peer.idle != NULL && peer.due_ns <= now) {
        struct conn *conn = peer.idle;
        peer.idle = conn->next_idle;
        client_send(conn, peer.due_ns);
        peer.due_ns += 1000000000u / peer.rate;
    }
}

static void client_open(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die("socket");
    }
    if (connect(fd, (struct sockaddr *)&peer.target, sizeof(peer.target)) != 0 &&
        errno != EINPROGRESS) {
        die("connect");
    }
    struct conn *conn = conn_new(CLIENT, fd);
    conn->next_client = peer.clients;
    peer.clients = conn;
    peer.open++;
}

static void client_answered(struct conn *conn)
{
    uint64_t us = (now_ns() - conn->sent_ns) / 1000;
    peer.latency_us[us < LATENCY_MAX_US ? us : LATENCY_MAX_US]++;
    peer.requests++;
    conn->in_body = false;
    conn->len = 0;
    client_next(conn);
}

// Everything that came of a response with a length; false when it is not one that we asked for.
static bool client_response(struct conn *conn, size_t n)
{
    if (conn->in_body) {
        if (n > conn->body_left) {
            return false;
        }
        conn->body_left -= n;
    } else {
        conn->len += n;
        char *end = memmem(conn->buf, conn->len, "\r\n\r\n", 4);
        if (end == NULL) {
            return conn->len < CLIENT_BUF;
        }
        size_t head = (size_t)(end - conn->buf) + 4;
        if (memcmp(conn->buf, "HTTP/1.1 200", 12) != 0) {
            fprintf(stderr, "peer: answer: %.*s\n", (int)(conn->len > 900 ? 900 : conn->len),
                    conn->buf);
            return false;
        }
        size_t length = content_length(conn->buf, head);
        if (length == 0 || conn->len - head > length) {
            return false;
        }
        conn->in_body = true;
        conn->body_left = length - (conn->len - head);
    }
    if (conn->body_left == 0) {
        client_answered(conn);
    }
    return true;
}

// Counts ends of events.
static bool client_events(struct conn *conn, size_t n)
{
    uint64_t now = now_ns();
    if (conn->in_body && now - conn->sent_ns > peer.pause_ns) {
        peer.pause_ns = now - conn->sent_ns;
    }
    conn->sent_ns = now;
    if (!conn->in_body) {
        conn->in_body = true;
        if (n < 12 || memcmp(conn->buf, "HTTP/1.1 200", 12) != 0) {
            fprintf(stderr, "peer: answer: %.*s\n", (int)(n > 900 ? 900 : n), conn->buf);
            return false;
        }
    }
    if (conn->last == '\n' && conn->buf[0] == '\n') {
        peer.events++;
    }
    const char *p = conn->buf, *end = p + n;
    while ((p = memmem(p, (size_t)(end - p), "\n\n", 2)) != NULL) {
        peer.events++;
        p += 2;
    }
    conn->last = conn->buf[n - 1];
    return true;
}

static void client_ready(struct conn *conn, uint32_t events)
{
    if (!conn->connected) {
        if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
            client_fail(conn);
            return;
        }
        conn->connected = true;
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = conn};
        if (epoll_ctl(peer.epoll_fd, EPOLL_CTL_MOD, conn->fd, &ev) != 0) {
            die("epoll_ctl");
        }
        client_next(conn);
        return;
    }
    if (conn->sent < peer.request_len && (events & EPOLLOUT) != 0) {
        client_send_rest(conn);
        return;
    }
    size_t at = conn->in_body || peer.streams ? 0 : conn->len;
    ssize_t n = recv(conn->fd, conn->buf + at, CLIENT_BUF - at, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0 ||
        !(peer.streams ? client_events(conn, (size_t)n) : client_response(conn, (size_t)n))) {
        client_fail(conn);
    }
}

// ---- control --------------------------------------------------------------------------------

static void request_read(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        die(path);
    }
    free(peer.request);
    peer.request_len = (size_t)st.st_size;
    peer.request = malloc(peer.request_len + 1);
    if (peer.request == NULL || read(fd, peer.request, peer.request_len) != st.st_size) {
        die(path);
    }
    close(fd);
}

static void counters_reset(void)
{
    peer.requests = peer.served = peer.events = peer.errors = peer.skipped = 0;
    peer.pause_ns = 0;
    memset(peer.latency_us, 0, sizeof(peer.latency_us));
}

static unsigned latency_quantile(double q)
{
    uint64_t want = (uint64_t)(q * (double)peer.requests), seen = 0;
    for (unsigned us = 0; us <= LATENCY_MAX_US; us++) {
        seen += peer.latency_us[us];
        if (seen > want) {
            return us;
        }
    }
    return 0;
}

static void command(char *line)
{
    unsigned port, n;
    char path[1024], what[16];
    if (sscanf(line, "load %u %u %1023s %15s", &port, &n, path, what) == 4) {
        request_read(path);
        peer.target = (struct sockaddr_in){.sin_family = AF_INET,
                                           .sin_port = htons((uint16_t)port),
                                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        peer.streams = strcmp(what, "streams") == 0;
        peer.to_open = n;
        peer.idle = NULL;
        peer.due_ns = now_ns();
    } else if (sscanf(line, "rate %u", &n) == 1) {
        peer.rate = n;
    } else if (sscanf(line, "pace %u", &n) == 1 && n >= 1 && n <= PACE_MAX) {
        peer.pace_ms = n;
    } else if (strcmp(line, "reset") == 0) {
        counters_reset();
    } else if (strcmp(line, "stop") == 0) {
        peer.to_open = 0;
        for (struct conn *conn = peer.clients; conn != NULL; conn = conn->next_client) {
            conn_close(conn); // the memory goes after this batch of events
        }
        peer.open = 0;
        peer.idle = NULL;
    } else if (strcmp(line, "quit") == 0) {
        exit(0);
    } else if (strcmp(line, "count") != 0) {
        printf("{\"error\":\"unknown command\"}\n");
        fflush(stdout);
        return;
    }
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {
        {"at_ns", now_ns()},          {"requests", peer.requests},
        {"served", peer.served},      {"events", peer.events},
        {"errors", peer.errors},      {"skipped", peer.skipped},
        {"open", peer.open},          {"streaming", peer.streaming},
        {"p50_us", latency_quantile(0.5)}, {"p99_us", latency_quantile(0.99)},
        {"pause_ms", peer.pause_ns / 1000000},
    };
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
        printf("%s\"%s\":%llu", i == 0 ? "{" : ",", figures[i].name,
               (unsigned long long)figures[i].value);
    }
    printf("}\n");
    fflush(stdout);
}

static void control_ready(void)
{
    static char buf[2048];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, buf + len, sizeof(buf) - 1 - len);
    if (n <= 0) {
        exit(0); // whoever started us is gone
    }
    len += (size_t)n;
    char *nl;
    while ((nl = memchr(buf, '\n', len)) != NULL) {
        *nl = '\0';
        command(buf);
        size_t used = (size_t)(nl - buf) + 1;
        memmove(buf, nl + 1, len - used);
        len -= used;
    }
}

static void tick_ready(struct conn *conn)
{
    uint64_t n = 0;
    if (read(conn->fd, &n, sizeof(n)) != (ssize_t)sizeof(n)) {
        return;
    }
    for (n = n > 20 ? 20 : n; n > 0; n--) {
        stream_tick();
    }
    clients_tick();
    for (unsigned i = 0; i < CONNECTS_A_TICK && peer.to_open > 0; i++, peer.to_open--) {
        client_open();
    }
}

int main(int argc, char **argv)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    peer.pace_ms = 10;
    peer.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    answers_init();
    for (int i = 1; i < argc; i++) {
        backend_listen(argv[i]);
    }
    conn_new(CONTROL, STDIN_FILENO);
    int tick = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct itimerspec each_ms = {.it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1000000};
    if (tick < 0 || timerfd_settime(tick, 0, &each_ms, NULL) != 0) {
        die("timerfd");
    }
    conn_new(TICK, tick);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(peer.epoll_fd, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct conn *conn = events[i].data.ptr;
            if (conn->fd < 0) {
                continue;
            }
            switch (conn->kind) {
            case LISTENER: backend_accept(conn); break;
            case BACKEND: backend_ready(conn); break;
            case CLIENT: client_ready(conn, events[i].events); break;
            case CONTROL: control_ready(); break;
            case TICK: tick_ready(conn); break;
            }
        }
        bury();
    }
}
