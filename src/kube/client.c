#include "kube/client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/strbuf.h"
#include "kube/auth.h"

enum {
    BODY_MAX = 16 << 20,
    ERROR_BODY_MAX = 256 << 10,
    CONNECT_TIMEOUT_MS = 10 * 1000,
    UNACKED_MS = 30 * 1000, // sent but not acknowledged: the peer is gone
    RETRY_AFTER_MAX_MS = 5 * 60 * 1000,
};

struct kube_client {
    struct kube_api api;
    struct loop *loop;
    struct curl_loop *curl;
    struct kube_config *config;
    struct kube_auth *auth;
    char *user_agent;
    struct list_node calls;
};

struct kube_call {
    struct list_node node;
    struct kube_client *client;
    CURL *easy; // NULL while it waits for credentials
    struct curl_slist *headers;
    struct curl_slist *connect_to;
    char *method;
    char *path;
    char *content_type;
    char *sent_body;
    struct kube_call_options options; // its strings are the copies above
    kube_call_done *done;
    void *arg;
    struct kube_auth_waiter waiter;
    struct task fail_task;
    int fail_rc;
    struct error fail_text;
    uint64_t serial; // of the credentials that were sent
    bool renewed;    // a 401 was answered with fresh credentials already
    struct strbuf body;
    int data_rc; // what on_data returned
    char curl_text[CURL_ERROR_SIZE];
};

// ---- Status ----

bool kube_status_read(struct json_object *object, struct kube_status *ret)
{
    struct json_object *node = NULL;
    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, "kind", &node) ||
        !json_object_is_type(node, json_type_string) ||
        strcmp(json_object_get_string(node), "Status") != 0) {
        return false;
    }
    if (json_object_object_get_ex(object, "code", &node) &&
        json_object_is_type(node, json_type_int)) {
        ret->code = (long)json_object_get_int(node);
    }
    if (json_object_object_get_ex(object, "reason", &node) &&
        json_object_is_type(node, json_type_string)) {
        ret->reason = json_object_get_string(node);
    }
    if (json_object_object_get_ex(object, "message", &node) &&
        json_object_is_type(node, json_type_string)) {
        ret->message = json_object_get_string(node);
    }
    struct json_object *details = NULL;
    if (!json_object_object_get_ex(object, "details", &details) ||
        !json_object_is_type(details, json_type_object)) {
        return true;
    }
    if (json_object_object_get_ex(details, "retryAfterSeconds", &node) &&
        json_object_is_type(node, json_type_int) && json_object_get_int64(node) > 0) {
        ret->retry_after_ms = MIN_OF((uint64_t)json_object_get_int64(node),
                                     (uint64_t)RETRY_AFTER_MAX_MS / 1000) * 1000;
    }
    struct json_object *causes = NULL;
    json_object_object_get_ex(details, "causes", &causes);
    size_t n = json_object_is_type(causes, json_type_array) ? json_object_array_length(causes) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *cause = json_object_array_get_idx(causes, i);
        if (json_object_is_type(cause, json_type_object) &&
            json_object_object_get_ex(cause, "reason", &node) &&
            json_object_is_type(node, json_type_string) &&
            strcmp(json_object_get_string(node), "ResourceVersionTooLarge") == 0) {
            ret->too_large_version = true;
        }
    }
    return true;
}

// ---- life ----

static void slist_wipe(struct curl_slist *list)
{
    for (struct curl_slist *at = list; at != NULL; at = at->next) {
        explicit_bzero(at->data, strlen(at->data));
    }
    curl_slist_free_all(list);
}

static void drop_transfer(struct kube_call *call)
{
    curl_loop_drop(call->client->curl, call->easy);
    call->easy = NULL;
    slist_wipe(call->headers);
    call->headers = NULL;
    curl_slist_free_all(call->connect_to);
    call->connect_to = NULL;
}

static void call_free(struct kube_call *call)
{
    kube_auth_wait_cancel(&call->waiter);
    loop_task_cancel(call->client->loop, &call->fail_task);
    drop_transfer(call);
    list_remove(&call->node);
    strbuf_fini(&call->body);
    free(call->method);
    free(call->path);
    free(call->content_type);
    free(call->sent_body);
    free(call);
}

static void finish(struct kube_call *call, const struct kube_response *response)
{
    kube_call_done *done = call->done;
    void *arg = call->arg;
    // Off every list first: done may do anything but cancel this call.
    list_remove(&call->node);
    done(response, arg);
    call_free(call);
}

static void finish_failed(struct kube_call *call, int rc, const char *text)
{
    struct kube_response response = {.rc = rc, .reason = "", .text = text};
    finish(call, &response);
}

static void on_fail_task(struct task *task, void *arg)
{
    (void)task;
    struct kube_call *call = arg;
    finish_failed(call, call->fail_rc, call->fail_text.text);
}

static void fail_later(struct kube_call *call, int rc)
{
    call->fail_rc = rc;
    loop_task_set(call->client->loop, &call->fail_task, on_fail_task, call);
}

// ---- libcurl's callbacks ----

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct kube_call *call = arg;
    size_t len = size * count;
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && status < 300 && call->options.on_data != NULL) {
        call->data_rc = call->options.on_data(slice_of(data, len), call->arg);
        return call->data_rc < 0 ? CURL_WRITEFUNC_ERROR : len;
    }
    strbuf_add(&call->body, slice_of(data, len));
    if (call->body.failed || (status >= 300 && call->body.len > ERROR_BODY_MAX)) {
        call->data_rc = -EMSGSIZE;
        return CURL_WRITEFUNC_ERROR;
    }
    return len;
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    struct kube_call *call = arg;
    size_t len = size * count;
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (data[0] == '\r' && status >= 200 && status < 300 && call->options.on_open != NULL) {
        call->options.on_open(call->arg);
    }
    return len;
}

static int on_socket_made(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    (void)arg;
    unsigned int ms = UNACKED_MS;
    if (purpose == CURLSOCKTYPE_IPCXN) {
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
    }
    return CURL_SOCKOPT_OK;
}

static int errno_of(CURL *easy, CURLcode code)
{
    long os = 0;
    switch (code) {
    case CURLE_COULDNT_CONNECT:
        curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os);
        return os > 0 ? (int)-os : -ECONNREFUSED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return -EHOSTUNREACH;
    case CURLE_OPERATION_TIMEDOUT:
        return -ETIMEDOUT;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
        return -ECONNRESET;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return -EPROTO;
    case CURLE_OUT_OF_MEMORY:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

static int send_call(struct kube_call *call);

static struct json_object *parse_body(const struct strbuf *body)
{
    json_tokener *tokener = body->len > 0 ? json_tokener_new_ex(128) : NULL;
    if (tokener == NULL) {
        return NULL;
    }
    struct json_object *object = json_tokener_parse_ex(tokener, body->ptr, (int)body->len);
    json_tokener_free(tokener);
    return object;
}

static void finish_answered(struct kube_call *call, CURL *easy, long status)
{
    curl_off_t retry_after = 0;
    char text[512];
    struct kube_status s = {.reason = "", .message = ""};
    struct json_object *body = parse_body(&call->body);
    struct kube_response response = {.status = status, .body = body, .text = ""};
    if (status >= 300) {
        kube_status_read(body, &s);
        snprintf(text, sizeof(text), "HTTP %ld%s%s%s%s", status, *s.reason != '\0' ? " " : "",
                 s.reason, *s.message != '\0' ? ": " : "", s.message);
        response.text = text;
        response.too_large_version = s.too_large_version;
        curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after);
        response.retry_after_ms =
            retry_after > 0 ? MIN_OF((uint64_t)retry_after * 1000, (uint64_t)RETRY_AFTER_MAX_MS)
                            : s.retry_after_ms;
    }
    response.reason = s.reason;
    finish(call, &response);
    json_object_put(body);
}

static void on_done(CURL *easy, CURLcode result, void *arg)
{
    struct kube_call *call = arg;
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == 401 && !call->renewed) {
        call->renewed = true;
        kube_auth_reject(call->client->auth, call->serial);
        drop_transfer(call);
        strbuf_reset(&call->body);
        int rc = send_call(call);
        if (rc != 0) {
            finish_failed(call, rc, call->fail_text.text);
        }
        return;
    }
    if (result == CURLE_OK) {
        finish_answered(call, easy, status);
        return;
    }
    int rc = call->data_rc != 0 ? call->data_rc : errno_of(easy, result);
    if (rc == -EPROTO) {
        kube_auth_reread_certificates(call->client->auth);
    }
    const char *text = call->curl_text[0] != '\0' ? call->curl_text : curl_easy_strerror(result);
    struct kube_response response = {.rc = rc, .status = status, .reason = "", .text = text};
    finish(call, &response);
}

// ---- sending ----

static int add_header(struct kube_call *call, const char *name, struct slice value)
{
    struct strbuf line;
    strbuf_init(&line, 128 << 10);
    strbuf_printf(&line, "%s: ", name);
    strbuf_add(&line, value);
    struct curl_slist *list =
        line.failed ? NULL : curl_slist_append(call->headers, strbuf_cstr(&line));
    if (line.ptr != NULL) {
        explicit_bzero(line.ptr, line.cap);
    }
    strbuf_fini(&line);
    if (list == NULL) {
        return -ENOMEM;
    }
    call->headers = list;
    return 0;
}

static int add_headers(struct kube_call *call, const struct kube_credentials *c)
{
    const struct kube_config *config = call->client->config;
    int rc = add_header(call, "Accept", SLICE("application/json"));
    rc = rc != 0 ? rc : add_header(call, "User-Agent", slice_of_str(call->client->user_agent));
    if (rc == 0 && call->content_type != NULL) {
        rc = add_header(call, "Content-Type", slice_of_str(call->content_type));
    }
    if (rc == 0 && c->token.len > 0) {
        struct strbuf bearer;
        strbuf_init(&bearer, 128 << 10);
        strbuf_add_str(&bearer, "Bearer ");
        strbuf_add(&bearer, c->token);
        rc = bearer.failed ? -ENOMEM : add_header(call, "Authorization", strbuf_slice(&bearer));
        if (bearer.ptr != NULL) {
            explicit_bzero(bearer.ptr, bearer.cap);
        }
        strbuf_fini(&bearer);
    }
    if (rc == 0 && config->as_user != NULL) {
        rc = add_header(call, "Impersonate-User", slice_of_str(config->as_user));
    }
    if (rc == 0 && config->as_uid != NULL) {
        rc = add_header(call, "Impersonate-Uid", slice_of_str(config->as_uid));
    }
    for (size_t i = 0; rc == 0 && config->as_groups != NULL && config->as_groups[i] != NULL; i++) {
        rc = add_header(call, "Impersonate-Group", slice_of_str(config->as_groups[i]));
    }
    return rc;
}

static void set_blob(CURL *easy, CURLoption option, struct slice text)
{
    // Copied by libcurl, since ours may be re-read while the call runs.
    struct curl_blob blob = {.data = (void *)(uintptr_t)text.ptr, .len = text.len,
                             .flags = CURL_BLOB_COPY};
    if (text.len > 0) {
        curl_easy_setopt(easy, option, &blob);
    }
}

// The scheme's and the host's part of a URL: "https://" and "host:port".
static void split_server(const char *server, struct slice *scheme, struct slice *authority,
                         struct slice *rest)
{
    const char *host = strstr(server, "://");
    host = host != NULL ? host + 3 : server;
    size_t len = strcspn(host, "/");
    *scheme = slice_of(server, (size_t)(host - server));
    *authority = slice_of(host, len);
    *rest = slice_of_str(host + len);
}

// libcurl takes the name to verify from the URL: with tls-server-name the URL says that name, and
// the connection goes to the real host.
static int set_url(struct kube_call *call)
{
    const struct kube_config *config = call->client->config;
    struct strbuf url;
    int rc = 0;
    strbuf_init(&url, 64 << 10);
    if (config->tls_server_name == NULL) {
        strbuf_add_str(&url, config->server);
    } else {
        struct slice scheme;
        struct slice authority;
        struct slice rest;
        struct strbuf to;
        split_server(config->server, &scheme, &authority, &rest);
        strbuf_init(&to, 4096);
        const char *bracket = memchr(authority.ptr, ']', authority.len);
        const char *from = bracket != NULL ? bracket : authority.ptr;
        bool has_port = memchr(from, ':', authority.len - (size_t)(from - authority.ptr)) != NULL;
        strbuf_add(&url, scheme);
        strbuf_add_str(&url, config->tls_server_name);
        strbuf_add(&url, rest);
        strbuf_printf(&to, "::%.*s%s", SLICE_FMT(authority), has_port ? "" : ":443");
        call->connect_to = curl_slist_append(NULL, strbuf_cstr(&to));
        rc = call->connect_to == NULL ? -ENOMEM : add_header(call, "Host", authority);
        strbuf_fini(&to);
        curl_easy_setopt(call->easy, CURLOPT_CONNECT_TO, call->connect_to);
    }
    strbuf_add_str(&url, call->path);
    if (url.failed || curl_easy_setopt(call->easy, CURLOPT_URL, strbuf_cstr(&url)) != CURLE_OK) {
        rc = -ENOMEM;
    }
    strbuf_fini(&url);
    return rc;
}

static void set_tls(CURL *easy, const struct kube_config *config, const struct kube_credentials *c)
{
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (config->insecure) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    set_blob(easy, CURLOPT_CAINFO_BLOB, c->ca_pem);
    set_blob(easy, CURLOPT_SSLCERT_BLOB, c->cert_pem);
    set_blob(easy, CURLOPT_SSLKEY_BLOB, c->key_pem);
}

static void set_limits(struct kube_call *call)
{
    CURL *easy = call->easy;
    const struct kube_call_options *o = &call->options;
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)o->timeout_ms);
    if (o->stall_ms > 0) {
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)((o->stall_ms + 999) / 1000));
    }
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 64L << 10);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
}

static void set_body(struct kube_call *call)
{
    CURL *easy = call->easy;
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method);
    if (call->options.body.ptr != NULL) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)call->options.body.len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->sent_body);
    }
}

static int send_with(struct kube_call *call, const struct kube_credentials *c)
{
    const struct kube_config *config = call->client->config;
    call->serial = c->serial;
    call->easy = curl_loop_easy();
    if (call->easy == NULL) {
        return -ENOMEM;
    }
    CURL *easy = call->easy;
    int rc = set_url(call);
    rc = rc != 0 ? rc : add_headers(call, c);
    if (rc != 0) {
        return rc;
    }
    // As Kubernetes' own clients: proxy-url, else the environment's HTTPS_PROXY and NO_PROXY.
    curl_easy_setopt(easy, CURLOPT_PROXY, config->proxy_url);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
    if (c->token.len == 0 && config->username != NULL) {
        curl_easy_setopt(easy, CURLOPT_USERNAME, config->username);
        curl_easy_setopt(easy, CURLOPT_PASSWORD, config->password != NULL ? config->password : "");
    }
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->curl_text);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    set_tls(easy, config, c);
    set_limits(call);
    set_body(call);
    return curl_loop_add(call->client->curl, easy, on_done, call);
}

static void on_credentials(int rc, const struct error *err, void *arg)
{
    struct kube_call *call = arg;
    if (rc != 0) {
        finish_failed(call, -EACCES, err->text);
        return;
    }
    rc = send_call(call);
    if (rc != 0) {
        finish_failed(call, rc, call->fail_text.text);
    }
}

// 0 when it is on its way or waits; else the text is in fail_text.
static int send_call(struct kube_call *call)
{
    struct kube_credentials credentials;
    int rc = kube_auth_get(call->client->auth, &credentials, &call->fail_text);
    if (rc == -EINPROGRESS) {
        kube_auth_wait(call->client->auth, &call->waiter, on_credentials, call);
        return 0;
    }
    if (rc != 0) {
        return -EACCES;
    }
    rc = send_with(call, &credentials);
    if (rc != 0) {
        drop_transfer(call);
        error_set(&call->fail_text, rc, "cannot begin the call: %s", strerror(-rc));
    }
    return rc;
}

static int client_start(struct kube_api *api, const struct kube_call_options *options,
                        kube_call_done *done, void *arg, struct kube_call **ret_call)
{
    struct kube_client *client = container_of(api, struct kube_client, api);
    struct kube_call *call = calloc(1, sizeof(*call));
    if (call == NULL) {
        return -ENOMEM;
    }
    call->client = client;
    call->options = *options;
    call->done = done;
    call->arg = arg;
    strbuf_init(&call->body, BODY_MAX);
    list_push_back(&client->calls, &call->node);
    call->method = strdup(options->method);
    call->path = strdup(options->path);
    call->content_type = options->content_type != NULL ? strdup(options->content_type) : NULL;
    call->sent_body = options->body.ptr != NULL ? slice_dup(options->body) : NULL;
    if (call->method == NULL || call->path == NULL ||
        (options->content_type != NULL && call->content_type == NULL) ||
        (options->body.ptr != NULL && call->sent_body == NULL)) {
        call_free(call);
        return -ENOMEM;
    }
    int rc = send_call(call);
    if (rc != 0) {
        fail_later(call, rc);
    }
    *ret_call = call;
    return 0;
}

static void client_cancel(struct kube_api *api, struct kube_call *call)
{
    (void)api;
    call_free(call);
}

int kube_client_new(struct loop *loop, struct curl_loop *curl, struct kube_config *config,
                    const char *user_agent, struct kube_client **ret_client, struct error *err)
{
    struct kube_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        kube_config_free(config);
        return error_set(err, -ENOMEM, "out of memory");
    }
    client->api = (struct kube_api){.start = client_start, .cancel = client_cancel};
    client->loop = loop;
    client->curl = curl;
    client->config = config;
    list_init(&client->calls);
    client->user_agent = strdup(user_agent);
    if (client->user_agent == NULL || kube_auth_new(loop, config, &client->auth) != 0) {
        kube_client_free(client);
        return error_set(err, -ENOMEM, "out of memory");
    }
    *ret_client = client;
    return 0;
}

void kube_client_free(struct kube_client *client)
{
    if (client == NULL) {
        return;
    }
    while (!list_empty(&client->calls)) {
        call_free(list_first(&client->calls, struct kube_call, node));
    }
    kube_auth_free(client->auth);
    kube_config_free(client->config);
    free(client->user_agent);
    free(client);
}

struct kube_api *kube_client_api(struct kube_client *client)
{
    return &client->api;
}
