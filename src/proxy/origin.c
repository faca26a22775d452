#include "proxy/origin.h"

#include "http/traceparent.h"
#include "proxy/worker.h"

enum { OWN_FORWARDED_MAX = 512 };

// The peer is a proxy of ours: it is believed who the client is.
static void note_forwarded(struct request *request, const struct ip *peer)
{
    const struct http_request *head = &request->head;
    struct forwarded from;
    struct forwarded_fields *fields = ARENA_NEW(&request->arena, struct forwarded_fields);
    if (fields == NULL) {
        return; // as from a stranger
    }
    forwarded_read(head->headers, head->header_count, peer,
                   &request->worker->config->trusted_proxies, request_scheme(request),
                   head->authority, &from);
    forwarded_write(&from, &request->arena, fields);
    char text[IP_TEXT_MAX];
    struct slice client = arena_dup(&request->arena,
                                    slice_of(text, ip_print(&from.hops[0], text)));
    if (client.ptr != NULL && fields->forwarded_for.ptr != NULL && fields->forwarded.ptr != NULL) {
        request->client_address = client;
        request->forwarded = fields;
    }
}

static void note_trace(struct request *request)
{
    const struct http_request *head = &request->head;
    struct slice parent =
        traceparent_find(head->headers, head->header_count, &request->pass_tracestate);
    char fresh[TRACEPARENT_LEN];
    if (parent.ptr == NULL) {
        traceparent_make(&request->worker->rng, fresh);
        parent = slice_of(fresh, sizeof(fresh));
    }
    request->traceparent = arena_dup(&request->arena, parent);
}

void origin_note(struct request *request)
{
    const struct cidr_list *trusted = &request->worker->config->trusted_proxies;
    struct ip peer;
    note_trace(request);
    if (trusted->count != 0 && ip_parse(request->client_address, &peer) == 0 &&
        cidr_list_contains(trusted, &peer)) {
        note_forwarded(request, &peer);
    }
}

// Absent stays absent. False: out of memory.
static bool dup(struct arena *arena, struct slice from, struct slice *ret)
{
    *ret = from.ptr != NULL ? arena_dup(arena, from) : SLICE_NULL;
    return from.ptr == NULL || ret->ptr != NULL;
}

bool origin_copy(struct request *copy, const struct request *from)
{
    struct arena *arena = &copy->arena;
    copy->pass_tracestate = from->pass_tracestate;
    bool ok = dup(arena, from->traceparent, &copy->traceparent) &&
              dup(arena, from->client_address, &copy->client_address) &&
              dup(arena, from->client_cert, &copy->client_cert);
    if (!ok || from->forwarded == NULL) {
        return ok;
    }
    struct forwarded_fields *fields = ARENA_NEW(arena, struct forwarded_fields);
    if (fields == NULL) {
        return false;
    }
    copy->forwarded = fields;
    return dup(arena, from->forwarded->forwarded_for, &fields->forwarded_for) &&
           dup(arena, from->forwarded->proto, &fields->proto) &&
           dup(arena, from->forwarded->host, &fields->host) &&
           dup(arena, from->forwarded->forwarded, &fields->forwarded);
}

bool origin_takes(const struct request *request, const struct http_header *header)
{
    switch ((enum http_token)header->token) {
    case HTTP_TOKEN_FORWARDED:
    case HTTP_TOKEN_X_FORWARDED_FOR:
    case HTTP_TOKEN_X_FORWARDED_HOST:
    case HTTP_TOKEN_X_FORWARDED_PORT:
    case HTTP_TOKEN_X_FORWARDED_PREFIX:
    case HTTP_TOKEN_X_FORWARDED_PROTO:
    case HTTP_TOKEN_X_FORWARDED_SERVER:
    case HTTP_TOKEN_X_REAL_IP:
    case HTTP_TOKEN_TRACEPARENT:
        return true;
    case HTTP_TOKEN_X_FORWARDED_CLIENT_CERT:
        return request->forwarded == NULL; // what trusted proxies say stands before our own
    case HTTP_TOKEN_TRACESTATE:
        return !request->pass_tracestate;
    default:
        return false;
    }
}

// for=192.0.2.1;host="a.example";proto=http: as http/forwarded.h writes it for a chain.
static void write_own(const struct request *request, struct strbuf *out)
{
    struct slice peer = request->client_address;
    struct slice host = request->head.authority;
    bool v6 = slice_find_byte(peer, ':') >= 0;
    char text[OWN_FORWARDED_MAX];
    size_t len = 0;
    const struct slice parts[] = {
        v6 ? SLICE("for=\"[") : SLICE("for="), peer, v6 ? SLICE("]\"") : SLICE(""),
        host.len != 0 ? SLICE(";host=\"") : SLICE(""), host,
        host.len != 0 ? SLICE("\";proto=") : SLICE(";proto="), request_scheme(request),
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].len > sizeof(text) - len) {
            return;
        }
        if (parts[i].len != 0) {
            memcpy(text + len, parts[i].ptr, parts[i].len);
            len += parts[i].len;
        }
    }
    h1_write_header(out, SLICE("forwarded"), slice_of(text, len));
}

void origin_write(const struct request *request, struct strbuf *out)
{
    const struct forwarded_fields *fields = request->forwarded;
    struct slice host = fields != NULL ? fields->host : request->head.authority;
    h1_write_header(out, SLICE("x-forwarded-for"),
                    fields != NULL ? fields->forwarded_for : request->client_address);
    h1_write_header(out, SLICE("x-forwarded-proto"), request_scheme(request));
    if (host.len != 0) {
        h1_write_header(out, SLICE("x-forwarded-host"), host);
    }
    if (fields != NULL) {
        h1_write_header(out, SLICE("forwarded"), fields->forwarded);
    } else {
        write_own(request, out);
    }
    if (request->client_cert.len != 0) {
        h1_write_header(out, SLICE("x-forwarded-client-cert"), request->client_cert);
    }
    if (request->traceparent.ptr != NULL) {
        h1_write_header(out, SLICE("traceparent"), request->traceparent);
    }
}
