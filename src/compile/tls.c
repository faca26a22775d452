#include "compile/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

// A host whose connections are terminated, and the route that says how.
struct tls_claim {
    struct tls_host host;
    struct slice route;
};

// Where a reference stands, for messages.
struct reference {
    struct slice namespace;
    struct slice path;
};

static void note_object(struct build *build, struct references *references,
                        enum reference_note kind, const struct reference *at,
                        const char *object_kind, struct slice name, const char *what)
{
    references_note(build, references, kind, at->path, "%s %.*s/%.*s%s", object_kind,
                    SLICE_FMT(at->namespace), SLICE_FMT(name), what);
}

static const struct object *find_object(const struct build *build, enum object_kind kind,
                                        struct slice namespace, struct slice name)
{
    char key[512];
    int n = snprintf(key, sizeof(key), "%.*s/%.*s", SLICE_FMT(namespace), SLICE_FMT(name));
    return resources_get(build->input->resources, kind, slice_of(key, (size_t)n));
}

// ---- certificates ----

// The material whose pair is good: the object's own, or its last good state's; NULL when neither.
static const struct material *usable_pair(const struct object *secret)
{
    const struct object *before = secret->last_good;
    if (secret->material->pair_problem.len == 0) {
        return secret->material;
    }
    return before != NULL && before->material->pair_problem.len == 0 ? before->material : NULL;
}

static const struct tls_identity *keep_identity(struct build *build, const struct object *secret,
                                                const struct material *material)
{
    struct tls_identity *identity = map_get(&build->identities, secret->key);
    if (identity != NULL) {
        return identity;
    }
    identity = build_alloc(build, 1, sizeof(*identity));
    if (identity == NULL) {
        return NULL;
    }
    identity->certificate_pem =
        build_keep(build, material_find(material, MATERIAL_CERTIFICATE)->pem);
    identity->key_pem = build_keep(build, material_find(material, MATERIAL_KEY)->pem);
    memcpy(identity->digest, material->pair_digest, TLS_DIGEST_LEN);
    build->failed =
        build->failed || map_put(&build->identities, secret->key, identity, NULL) < 0;
    return identity;
}

// The findings are to be judged anew at that time, when it comes before others.
static void judge_again_at(struct build *build, int64_t when)
{
    int64_t *next = &build->result->next_judgement_s;
    if (when > build->input->now_s && (*next == 0 || when < *next)) {
        *next = when;
    }
}

static void print_day(int64_t when, char *buf, size_t size)
{
    struct tm tm;
    time_t seconds = (time_t)when;
    if (gmtime_r(&seconds, &tm) == NULL || strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
        snprintf(buf, size, "?");
    }
}

static void note_times(struct build *build, struct references *references,
                       const struct reference *at, struct slice name, const struct tls_leaf *leaf)
{
    char day[32];
    char what[128];
    int64_t now = build->input->now_s;
    judge_again_at(build, leaf->not_before);
    judge_again_at(build, leaf->not_after + 1);
    if (now > leaf->not_after || now < leaf->not_before) {
        bool is_over = now > leaf->not_after;
        print_day(is_over ? leaf->not_after : leaf->not_before, day, sizeof(day));
        snprintf(what, sizeof(what), ": the certificate %s %s",
                 is_over ? "expired at" : "is not valid before", day);
        note_object(build, references, NOTE_WARNING, at, "Secret", name, what);
    }
}

// What a Secret of type kubernetes.io/tls holds; NULL, and noted, when that is nothing good.
static const struct tls_identity *use_identity(struct build *build, const struct reference *at,
                                               struct slice name, struct references *references,
                                               const struct tls_leaf **ret_leaf)
{
    const struct object *secret = find_object(build, OBJECT_SECRET, at->namespace, name);
    if (secret == NULL) {
        note_object(build, references, NOTE_CERTIFICATE_NOT_FOUND, at, "Secret", name,
                    " does not exist, or may not be read");
        return NULL;
    }
    const struct material *material = usable_pair(secret);
    if (secret->material->pair_problem.len > 0) {
        char what[512];
        snprintf(what, sizeof(what), ": %.*s%s", SLICE_FMT(secret->material->pair_problem),
                 material != NULL ? "; what it held before is used" : "");
        note_object(build, references, NOTE_CERTIFICATE_INVALID, at, "Secret", name, what);
    }
    if (material == NULL) {
        return NULL;
    }
    note_times(build, references, at, name, &material->leaf);
    *ret_leaf = &material->leaf;
    return keep_identity(build, secret, material);
}

// ---- authorities ----

static const struct material_entry *good_entry(const struct material *material, struct slice key)
{
    const struct material_entry *entry = material_find(material, key);
    return entry != NULL && entry->problem.len == 0 ? entry : NULL;
}

// Read now, on a thread that has the time; NULL means the system's. Where it fails for want of
// memory, those who use it try again, and say why.
static void read_ahead(struct build *build, const struct tls_trust *trust)
{
    struct error err = ERROR_INIT;
    struct tls_store *store = tls_store_get(trust, &err);
    if (store != NULL && !VEC_PUSH(&build->snapshot->tls_stores, store)) {
        tls_store_unref(store);
        build->failed = true;
    }
}

static const struct tls_trust *keep_trust(struct build *build, const struct object *object,
                                          const struct material_entry *entry)
{
    char buf[1024];
    int n = snprintf(buf, sizeof(buf), "%d %.*s %.*s", (int)object->kind, SLICE_FMT(object->key),
                     SLICE_FMT(entry->key));
    struct slice key = slice_of(buf, MIN_OF((size_t)n, sizeof(buf) - 1));
    struct tls_trust *trust = map_get(&build->trusts, key);
    if (trust != NULL) {
        return trust;
    }
    trust = build_alloc(build, 1, sizeof(*trust));
    if (trust == NULL) {
        return NULL;
    }
    trust->ca_pem = build_keep(build, entry->pem);
    memcpy(trust->digest, entry->digest, TLS_DIGEST_LEN);
    build->failed = build->failed || map_put(&build->trusts, key, trust, NULL) < 0;
    read_ahead(build, trust);
    return trust;
}

// NULL, and noted, when there are no good authorities.
static const struct tls_trust *use_trust(struct build *build, const struct reference *at,
                                         const struct ca_ref *ref, struct references *references)
{
    enum object_kind kind = ref->kind == CA_SECRET ? OBJECT_SECRET : OBJECT_CONFIGMAP;
    const char *kind_text = object_kinds[kind].kind;
    const struct object *object = find_object(build, kind, at->namespace, ref->name);
    if (object == NULL) {
        note_object(build, references, NOTE_CERTIFICATE_NOT_FOUND, at, kind_text, ref->name,
                    " does not exist, or may not be read");
        return NULL;
    }
    const struct material_entry *entry = good_entry(object->material, ref->key);
    if (entry != NULL) {
        return keep_trust(build, object, entry);
    }
    const struct material_entry *found = material_find(object->material, ref->key);
    entry = object->last_good != NULL ? good_entry(object->last_good->material, ref->key) : NULL;
    char what[512];
    snprintf(what, sizeof(what), ": %.*s: %.*s%s", SLICE_FMT(ref->key),
             SLICE_FMT(found != NULL ? found->problem : SLICE("there is no such key in it")),
             entry != NULL ? "; what it held before is used" : "");
    note_object(build, references, NOTE_CERTIFICATE_INVALID, at, kind_text, ref->name, what);
    return entry != NULL ? keep_trust(build, object, entry) : NULL;
}

// ---- routes ----

static const struct slice any_host[] = {SLICE("")};

struct host_list {
    const struct slice *items;
    size_t len;
};

// The hosts that an entry of spec.tls is for.
static struct host_list hosts_of(const struct airoute_spec *spec, const struct airoute_tls *tls)
{
    if (tls->hosts.len > 0) {
        return (struct host_list){.items = tls->hosts.items, .len = tls->hosts.len};
    }
    if (spec->hostnames.len > 0) {
        return (struct host_list){.items = spec->hostnames.items, .len = spec->hostnames.len};
    }
    return (struct host_list){.items = any_host, .len = 1};
}

static void note_uncovered(struct build *build, struct references *references,
                           const struct reference *at, const struct airoute_tls *tls,
                           struct host_list hosts, const struct tls_leaf *leaf)
{
    for (size_t i = 0; i < hosts.len; i++) {
        if (!tls_leaf_covers(leaf, hosts.items[i])) {
            char what[320];
            snprintf(what, sizeof(what), ": the certificate is not for %.*s",
                     SLICE_FMT(hosts.items[i]));
            note_object(build, references, NOTE_CERTIFICATE_INVALID, at, "Secret",
                        tls->secret_name, what);
        }
    }
}

static void build_entry(struct build *build, const struct object *route, size_t index,
                        struct references *references, struct tls_host *out)
{
    const struct airoute_tls *tls = &route->airoute->tls.items[index];
    struct reference at = {.namespace = route->namespace,
                           .path = build_say(build, "spec.tls[%zu].secretName", index)};
    const struct tls_leaf *leaf = NULL;
    const struct tls_identity *identity =
        use_identity(build, &at, tls->secret_name, references, &leaf);
    if (leaf != NULL) {
        note_uncovered(build, references, &at, tls, hosts_of(route->airoute, tls), leaf);
    }
    if (tls->client_auth != NULL) {
        at.path = build_say(build, "spec.tls[%zu].clientAuth.caRef", index);
        out->client_auth = tls->client_auth->mode == ROUTE_CLIENT_AUTH_REQUIRED
                               ? TLS_CLIENT_AUTH_REQUIRED
                               : TLS_CLIENT_AUTH_OPTIONAL;
        out->client_trust = use_trust(build, &at, tls->client_auth->ca_ref, references);
    }
    bool lacks_trust = tls->client_auth != NULL && out->client_trust == NULL;
    out->identity = lacks_trust ? NULL : identity;
}

static bool asks_to_tell(const struct airoute_tls *tls)
{
    return tls->client_auth != NULL && tls->client_auth->forward;
}

// Every host of every entry, as soon as one of them is guarded or tells of clients: of two that
// cover a name, the more specific one counts.
static void list_guards(struct build *build, const struct airoute_spec *spec, struct route_tls *tls)
{
    size_t count = 0;
    bool any = false;
    for (size_t t = 0; t < spec->tls.len; t++) {
        count += hosts_of(spec, &spec->tls.items[t]).len;
        any = any || tls->entries[t].client_auth == TLS_CLIENT_AUTH_REQUIRED ||
              asks_to_tell(&spec->tls.items[t]);
    }
    if (!any) {
        return;
    }
    tls->client_auth = build_alloc(build, count, sizeof(struct snap_client_auth));
    for (size_t t = 0; t < spec->tls.len && !build->failed; t++) {
        const struct tls_host *entry = &tls->entries[t];
        struct host_list hosts = hosts_of(spec, &spec->tls.items[t]);
        for (size_t h = 0; h < hosts.len; h++) {
            struct snap_client_auth *auth = &tls->client_auth[tls->client_auth_count++];
            auth->host = build_keep(build, hosts.items[h]);
            auth->is_required = entry->client_auth == TLS_CLIENT_AUTH_REQUIRED;
            auth->is_told = asks_to_tell(&spec->tls.items[t]);
            auth->trust = auth->is_required || auth->is_told ? entry->client_trust : NULL;
        }
    }
}

static struct slice print_hsts(struct build *build, const struct airoute_hsts *hsts)
{
    char text[96];
    snprintf(text, sizeof(text), "max-age=%lld%s%s", (long long)(hsts->max_age_ms / 1000),
             hsts->include_subdomains ? "; includeSubDomains" : "",
             hsts->preload ? "; preload" : "");
    return build_keep(build, slice_of_str(text));
}

void build_route_tls(struct build *build, const struct object *route,
                     struct references *references, struct route_tls *ret)
{
    const struct airoute_spec *spec = route->airoute;
    *ret = (struct route_tls){.hsts = SLICE("")};
    if (spec->https_redirect) {
        ret->https_port = (uint16_t)(spec->https_port > 0 ? spec->https_port : 443);
    }
    if (spec->hsts != NULL) {
        ret->hsts = print_hsts(build, spec->hsts);
    }
    ret->entries = build_alloc(build, spec->tls.len, sizeof(struct tls_host));
    for (size_t i = 0; i < spec->tls.len && !build->failed; i++) {
        build_entry(build, route, i, references, &ret->entries[i]);
    }
    if (!build->failed) {
        list_guards(build, spec, ret);
    }
}

// ---- hosts ----

static bool same_trust(const struct tls_trust *a, const struct tls_trust *b)
{
    return a == b ||
           (a != NULL && b != NULL && memcmp(a->digest, b->digest, TLS_DIGEST_LEN) == 0);
}

static bool same_termination(const struct tls_host *a, const struct tls_host *b)
{
    return memcmp(a->identity->digest, b->identity->digest, TLS_DIGEST_LEN) == 0 &&
           a->client_auth == b->client_auth && same_trust(a->client_trust, b->client_trust);
}

static void claim_host(struct build *build, const struct object *route, struct slice name,
                       const struct tls_host *entry, struct match_outcome *outcome)
{
    struct tls_claim *claim = map_get(&build->tls_claims, name);
    if (claim == NULL) {
        claim = build_alloc(build, 1, sizeof(*claim));
        if (claim == NULL) {
            return;
        }
        claim->host = *entry;
        claim->host.name = build_keep(build, name);
        claim->route = build_keep(build, route->key);
        build->failed = build->failed || map_put(&build->tls_claims, name, claim, NULL) < 0;
        return;
    }
    if (!same_termination(&claim->host, entry)) {
        outcome->tls_lost++;
        strbuf_printf(&outcome->text,
                      "%sTLS of host %.*s: AIRoute %.*s has another certificate for it, or asks "
                      "clients for others", outcome->text.len > 0 ? "; " : "",
                      SLICE_FMT(name.len > 0 ? name : SLICE("(any)")), SLICE_FMT(claim->route));
    }
}

void build_claim_tls_hosts(struct build *build, const struct object *route,
                           const struct route_tls *tls, struct match_outcome *outcome)
{
    const struct airoute_spec *spec = route->airoute;
    for (size_t t = 0; t < spec->tls.len && !build->failed; t++) {
        struct host_list hosts = hosts_of(spec, &spec->tls.items[t]);
        for (size_t h = 0; h < hosts.len && tls->entries[t].identity != NULL; h++) {
            claim_host(build, route, hosts.items[h], &tls->entries[t], outcome);
        }
    }
}

static int compare_names(const void *a, const void *b)
{
    return slice_cmp(((const struct tls_host *)a)->name, ((const struct tls_host *)b)->name);
}

void build_finish_tls_hosts(struct build *build)
{
    struct snapshot *snapshot = build->snapshot;
    snapshot->tls_hosts = build_alloc(build, build->tls_claims.len, sizeof(struct tls_host));
    for (struct map_entry *e = NULL;
         !build->failed && (e = map_next(&build->tls_claims, e)) != NULL;) {
        const struct tls_claim *claim = e->value;
        snapshot->tls_hosts[snapshot->tls_host_count++] = claim->host;
    }
    if (snapshot->tls_host_count > 1) {
        qsort(snapshot->tls_hosts, snapshot->tls_host_count, sizeof(struct tls_host),
              compare_names);
    }
}

// ---- backends ----

static struct slice server_name(struct build *build, const struct object *backend)
{
    const struct modelbackend_spec *spec = backend->modelbackend;
    char text[512];
    if (spec->tls->server_name.ptr != NULL) {
        return build_keep(build, spec->tls->server_name);
    }
    if (spec->pool == NULL || spec->pool->service_ref == NULL) {
        return SLICE("");
    }
    snprintf(text, sizeof(text), "%.*s.%.*s.svc", SLICE_FMT(spec->pool->service_ref->name),
             SLICE_FMT(backend->namespace));
    return build_keep(build, slice_of_str(text));
}

static struct slice digest_slice(const uint8_t *digest)
{
    return slice_of((const char *)digest, TLS_DIGEST_LEN);
}

static bool seal(struct tls_upstream *upstream)
{
    const struct slice parts[] = {
        upstream->trust != NULL ? digest_slice(upstream->trust->digest) : SLICE(""),
        upstream->identity != NULL ? digest_slice(upstream->identity->digest) : SLICE(""),
        upstream->server_name,
        upstream->insecure ? SLICE("insecure") : SLICE("verified"),
    };
    return tls_digest(parts, ARRAY_LEN(parts), upstream->digest);
}

bool build_backend_tls(struct build *build, const struct object *backend,
                       struct references *references, const struct tls_upstream **ret)
{
    const struct backend_tls *tls = backend->modelbackend->tls;
    struct reference at = {.namespace = backend->namespace, .path = SLICE("spec.tls.caRef")};
    bool usable = true;
    *ret = NULL;
    if (tls == NULL) {
        return true;
    }
    struct tls_upstream *upstream = build_alloc(build, 1, sizeof(*upstream));
    if (upstream == NULL) {
        return false;
    }
    upstream->insecure = tls->insecure;
    upstream->server_name = server_name(build, backend);
    if (tls->ca_ref != NULL) {
        upstream->trust = use_trust(build, &at, tls->ca_ref, references);
        usable = upstream->trust != NULL;
    } else if (!tls->insecure) {
        read_ahead(build, NULL);
    }
    if (tls->client_certificate_ref != NULL) {
        const struct tls_leaf *leaf;
        at.path = SLICE("spec.tls.clientCertificateRef.name");
        upstream->identity =
            use_identity(build, &at, tls->client_certificate_ref->name, references, &leaf);
        usable = usable && upstream->identity != NULL;
    }
    build->failed = build->failed || !seal(upstream);
    *ret = upstream;
    return usable;
}
