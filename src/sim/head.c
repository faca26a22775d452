// Heads of answers, in the order and the spelling of each kind of server.
#include <stdio.h>
#include <string.h>

#include "sim/exchange.h"

// As Python writes it: 0.0, 0.25.
static void write_float(struct strbuf *out, double value)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%.15g", value);
    strbuf_add(out, slice_of(text, (size_t)len));
    strbuf_add_str(out, strpbrk(text, ".e") == NULL ? ".0" : "");
}

static void write_orca(struct sim_exchange *exchange, struct strbuf *out)
{
    struct sim_pod *pod = exchange->pod;
    bool json = slice_ieq(exchange->orca_format, SLICE("JSON"));
    if (!json && !slice_ieq(exchange->orca_format, SLICE("TEXT"))) {
        return;
    }
    strbuf_printf(out,
                  json ? "endpoint-load-metrics: JSON {\"named_metrics\": {"
                         "\"num_requests_waiting\": %.1f, \"kv_cache_usage_perc\": "
                       : "endpoint-load-metrics: TEXT named_metrics.num_requests_waiting=%.1f, "
                         "named_metrics.kv_cache_usage_perc=",
                  sim_pod_waiting(pod));
    write_float(out, sim_pod_kv_usage(pod));
    strbuf_add_str(out, json ? "}}\r\n" : "\r\n");
}

static void write_length(struct strbuf *out, const char *name, int64_t body_len)
{
    if (body_len >= 0) {
        strbuf_printf(out, "%s: %lld\r\n", name, (long long)body_len);
    }
}

// vLLM with --enable-request-id-headers: that of the client, or one of its own.
static void write_request_id(struct sim_exchange *exchange, struct strbuf *out)
{
    struct rand_state *rng = &exchange->pod->server->rng;
    if (exchange->request_id.len > 0) {
        h1_write_header(out, SLICE("x-request-id"), exchange->request_id);
    } else {
        unsigned long long high = rand_u64(rng);
        strbuf_printf(out, "x-request-id: %016llx%016llx\r\n", high,
                      (unsigned long long)rand_u64(rng));
    }
}

static void write_uvicorn_head(struct sim_exchange *exchange, struct strbuf *out,
                               const char *content_type, int64_t body_len, bool keep_alive)
{
    struct sim_server *server = exchange->pod->server;
    h1_write_header(out, SLICE("date"), sim_server_date(server));
    if (server->dialect->headers == SIM_HEADERS_UVICORN) {
        h1_write_header(out, SLICE("server"), SLICE("uvicorn"));
    }
    if (exchange->allow != NULL) {
        h1_write_header(out, SLICE("allow"), slice_of_str(exchange->allow));
    }
    bool generated = exchange->generates && !exchange->stream && body_len >= 0;
    if (generated && server->dialect->orca && exchange->orca_format.ptr != NULL) {
        write_orca(exchange, out);
    }
    bool no_cache = body_len < 0 && exchange->events != NULL && exchange->events->no_cache;
    if (no_cache) {
        strbuf_add_str(out, "cache-control: no-cache\r\n");
        strbuf_add_str(out, keep_alive ? "connection: keep-alive\r\n" : "");
    }
    write_length(out, "content-length", body_len);
    if (content_type != NULL) {
        h1_write_header(out, SLICE("content-type"), slice_of_str(content_type));
    }
    if (server->dialect->headers == SIM_HEADERS_UVICORN) {
        strbuf_add_str(out, "vary: Origin\r\n");
    }
    if (server->dialect->request_ids && server->options->request_id_headers) {
        write_request_id(exchange, out);
    }
    if (!keep_alive) {
        strbuf_add_str(out, "connection: close\r\n");
    }
    if (body_len < 0) {
        strbuf_add_str(out, "transfer-encoding: chunked\r\n");
    }
}

static void write_llamacpp_head(const struct sim_exchange *exchange, struct strbuf *out,
                                const char *content_type, int64_t body_len, bool keep_alive)
{
    strbuf_add_str(out, "Server: llama.cpp\r\nAccess-Control-Allow-Origin: \r\n");
    if (body_len < 0) {
        strbuf_add_str(out, "X-Accel-Buffering: no\r\n");
    }
    if (content_type != NULL) {
        strbuf_printf(out, "Content-Type: %s\r\n", content_type);
    }
    write_length(out, "Content-Length", body_len);
    if (body_len < 0) {
        strbuf_add_str(out, "Transfer-Encoding: chunked\r\n");
    }
    // A stream promises to stay, and goes all the same.
    strbuf_add_str(out, keep_alive || body_len < 0 ? "Keep-Alive: timeout=5, max=100\r\n"
                                                   : "Connection: close\r\n");
    if (exchange->method == HTTP_METHOD_HEAD) {
        strbuf_add_str(out, "Accept-Ranges: bytes\r\n");
    }
}

void sim_exchange_head(struct sim_exchange *exchange, struct strbuf *out, unsigned status,
                       const char *content_type, int64_t body_len, bool keep_alive)
{
    struct sim_server *server = exchange->pod->server;
    h1_write_status(out, status);
    if (server->dialect->headers == SIM_HEADERS_LLAMACPP) {
        write_llamacpp_head(exchange, out, content_type, body_len, keep_alive);
    } else {
        write_uvicorn_head(exchange, out, content_type, body_len, keep_alive);
    }
    h1_write_header(out, SLICE("x-sim-pod"), slice_of_str(exchange->pod->name));
    h1_write_end(out);
}

const char *sim_exchange_json_type(const struct sim_exchange *exchange)
{
    return exchange->pod->server->dialect->headers == SIM_HEADERS_LLAMACPP
               ? "application/json; charset=utf-8"
               : "application/json";
}
