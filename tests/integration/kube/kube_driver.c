// Drives the Kubernetes client in tests: watches kinds and writes statuses, and says on standard
// output, as one JSON object a line, all that it hears. Commands come on standard input:
//
//   demand on|off           Pods are needed, or no longer
//   status NS NAME True|False MESSAGE…   the wish for an AIRoute's status
//   leader on|off           open or close the status writer
//   dump                    objects and counters of each kind
//   quit
//
// Usage: kube_driver [--kubeconfig FILE] [--namespace NS] [--silence MS]
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "compile/status.h"
#include "event/loop.h"
#include "kube/client.h"
#include "kube/source.h"
#include "model/object.h"
#include "net/curl_loop.h"
#include "status/writer.h"

struct driver {
    struct loop *loop;
    struct curl_loop *curl;
    struct kube_client *client;
    struct kube_source *source;
    struct status_writer *writer;
    struct io in;
    struct strbuf line;
};

static void say(const char *event, int tag, struct slice namespace_name, struct slice name,
                struct slice version)
{
    printf("{\"event\":\"%s\",\"kind\":\"%s\",\"key\":\"%.*s/%.*s\",\"version\":\"%.*s\"}\n", event,
           object_kinds[tag].kind, SLICE_FMT(namespace_name), SLICE_FMT(name), SLICE_FMT(version));
    fflush(stdout);
}

static void on_upsert(void *arg, int tag, struct json_object *object)
{
    (void)arg;
    struct kube_meta meta;
    if (kube_meta_read(object, &meta)) {
        say("upsert", tag, meta.namespace_name, meta.name, meta.version);
    }
}

static void on_remove(void *arg, int tag, struct slice namespace_name, struct slice name)
{
    (void)arg;
    say("remove", tag, namespace_name, name, SLICE_NULL);
}

static void on_synced(void *arg)
{
    (void)arg;
    printf("{\"event\":\"synced\"}\n");
    fflush(stdout);
}

static struct json_object *current_object(void *arg, enum object_kind kind, struct slice namespace,
                                          struct slice name)
{
    struct driver *d = arg;
    return kube_source_get(d->source, (int)kind, namespace, name);
}

static void dump(struct driver *d)
{
    for (int tag = 0; tag < OBJECT_LISTED_COUNT; tag++) {
        const struct kube_reflector_counters *c = kube_source_counters(d->source, tag);
        printf("{\"event\":\"dump\",\"kind\":\"%s\",\"lists\":%llu,\"watches\":%llu,"
               "\"events\":%llu,\"bookmarks\":%llu,\"duplicates\":%llu,\"odd\":%llu,"
               "\"failures\":%llu,\"held\":%llu}\n",
               object_kinds[tag].kind, (unsigned long long)c->lists, (unsigned long long)c->watches,
               (unsigned long long)c->events, (unsigned long long)c->bookmarks,
               (unsigned long long)c->duplicates, (unsigned long long)c->odd,
               (unsigned long long)c->failures, (unsigned long long)c->prunes_held);
    }
    struct status_writer_counters s;
    status_writer_counters(d->writer, &s);
    printf("{\"event\":\"dumped\",\"wishes\":%llu,\"written\":%llu,\"unchanged\":%llu,"
           "\"conflicts\":%llu,\"refused\":%llu,\"failed\":%llu,\"pending\":%llu}\n",
           (unsigned long long)s.wishes, (unsigned long long)s.written,
           (unsigned long long)s.unchanged, (unsigned long long)s.conflicts,
           (unsigned long long)s.refused, (unsigned long long)s.failed,
           (unsigned long long)s.pending);
    fflush(stdout);
}

static void want_status(struct driver *d, const char *namespace_name, const char *name,
                        const char *state, const char *message)
{
    struct json_object *object = kube_source_get(d->source, OBJECT_AIROUTE,
                                                 slice_of_str(namespace_name), slice_of_str(name));
    struct kube_meta meta;
    if (object == NULL || !kube_meta_read(object, &meta)) {
        fprintf(stderr, "no such AIRoute: %s/%s\n", namespace_name, name);
        return;
    }
    struct object_status wanted = {.kind = OBJECT_AIROUTE, .generation = meta.generation,
                                   .namespace = strdup(namespace_name), .name = strdup(name),
                                   .uid = slice_dup(meta.uid)};
    bool good = strcmp(state, "True") == 0;
    object_status_set(&wanted, CONDITION_READY, good ? CONDITION_TRUE : CONDITION_FALSE,
                      good ? REASON_READY : REASON_NO_READY_ENDPOINTS, "%s", message);
    if (status_writer_want(d->writer, &wanted) != 0) {
        fprintf(stderr, "out of memory\n");
    }
    object_status_fini(&wanted);
}

static void command(struct driver *d, char *line)
{
    char *save = NULL;
    const char *verb = strtok_r(line, " ", &save);
    const char *a = verb != NULL ? strtok_r(NULL, " ", &save) : NULL;
    if (verb == NULL) {
        return;
    }
    if (strcmp(verb, "dump") == 0) {
        dump(d);
    } else if (strcmp(verb, "quit") == 0) {
        loop_stop(d->loop);
    } else if (strcmp(verb, "demand") == 0 && a != NULL) {
        kube_source_demand(d->source, OBJECT_POD, strcmp(a, "on") == 0);
    } else if (strcmp(verb, "leader") == 0 && a != NULL) {
        status_writer_set_open(d->writer, strcmp(a, "on") == 0);
    } else if (strcmp(verb, "status") == 0 && a != NULL) {
        const char *name = strtok_r(NULL, " ", &save);
        const char *state = name != NULL ? strtok_r(NULL, " ", &save) : NULL;
        if (state != NULL) {
            want_status(d, a, name, state, save != NULL ? save : "");
        }
    }
}

static void on_input(struct io *io, uint32_t events, void *arg)
{
    (void)events;
    struct driver *d = arg;
    char buf[1024];
    ssize_t n = read(io->fd, buf, sizeof(buf));
    if (n <= 0) {
        loop_stop(d->loop);
        return;
    }
    strbuf_add(&d->line, slice_of(buf, (size_t)n));
    for (ptrdiff_t end; (end = slice_find_byte(strbuf_slice(&d->line), '\n')) >= 0;) {
        d->line.ptr[end] = '\0';
        command(d, d->line.ptr);
        strbuf_consume(&d->line, (size_t)end + 1);
    }
}

static int set_up(struct driver *d, const struct kube_config_options *where,
                  const char *namespace_name, uint32_t silence_ms, struct error *err)
{
    static const struct kube_source_events events = {
        .upsert = on_upsert, .remove = on_remove, .synced = on_synced};
    struct kube_source_kind kinds[OBJECT_LISTED_COUNT];
    struct kube_config *config = NULL;
    for (int k = 0; k < OBJECT_LISTED_COUNT; k++) {
        kinds[k] = (struct kube_source_kind){
            .resource = {.api_version = object_kinds[k].api_version,
                         .kind = object_kinds[k].kind,
                         .plural = object_kinds[k].plural},
            .tag = k,
                                             .keep_objects = k == OBJECT_AIROUTE,
                                             .on_demand = k == OBJECT_POD,
                                             .silence_ms = silence_ms};
    }
    int rc = loop_new(&d->loop, err);
    rc = rc != 0 ? rc : curl_loop_new(d->loop, &d->curl, err);
    rc = rc != 0 ? rc : kube_config_load(where, &config, err);
    rc = rc != 0 ? rc : kube_client_new(d->loop, d->curl, config, "kube-driver", &d->client, err);
    if (rc != 0) {
        return rc;
    }
    struct kube_api *api = kube_client_api(d->client);
    const struct status_writer_options writer = {.current = current_object, .arg = d};
    rc = kube_source_new(d->loop, api, kinds, ARRAY_LEN(kinds), namespace_name, &events, d,
                         &d->source);
    rc = rc != 0 ? rc : status_writer_new(d->loop, api, &writer, &d->writer);
    return rc != 0 ? rc : loop_io_add(d->loop, &d->in, STDIN_FILENO, EPOLLIN, on_input, d);
}

int main(int argc, char **argv)
{
    struct driver d = {.loop = NULL};
    struct kube_config_options where = {.kubeconfig = NULL};
    const char *namespace_name = NULL;
    uint32_t silence_ms = 0;
    struct error err = ERROR_INIT;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--kubeconfig") == 0) {
            where.kubeconfig = argv[i + 1];
        } else if (strcmp(argv[i], "--service-account") == 0) {
            where.service_account = argv[i + 1];
        } else if (strcmp(argv[i], "--namespace") == 0) {
            namespace_name = argv[i + 1];
        } else if (strcmp(argv[i], "--silence") == 0) {
            silence_ms = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        }
    }
    signal(SIGPIPE, SIG_IGN);
    log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    strbuf_init(&d.line, 1 << 16);
    int rc = set_up(&d, &where, namespace_name, silence_ms, &err);
    if (rc != 0) {
        fprintf(stderr, "kube_driver: %s (%d)\n", err.text, rc);
    } else {
        kube_source_start(d.source);
        loop_run(d.loop);
    }
    status_writer_free(d.writer);
    kube_source_free(d.source);
    kube_client_free(d.client);
    curl_loop_free(d.curl);
    if (d.loop != NULL) {
        loop_io_del(d.loop, &d.in);
    }
    loop_free(d.loop);
    strbuf_fini(&d.line);
    return rc != 0;
}
