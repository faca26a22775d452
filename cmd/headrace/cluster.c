#include "cluster.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/named.h"
#include "kube/source.h"
#include "net/curl_loop.h"
#include "status/writer.h"

struct cluster {
    struct controller *controller;
    struct curl_loop *curl;
    struct kube_client *client;
    struct kube_source *source;
    struct kube_named *named; // Secrets and ConfigMaps that are named by others
    struct status_writer *writer;
    bool is_synced; // all kinds that are watched whole were listed
};

static void update_demand(struct cluster *cluster)
{
    kube_source_demand(cluster->source, OBJECT_POD, controller_needs_pods(cluster->controller));
}

static void on_upsert(void *arg, int tag, struct json_object *object)
{
    // No file, and not strict: the API server has pruned what the schema does not know.
    static const struct object_origin from_api_server = {0};
    struct cluster *cluster = arg;
    struct error err = ERROR_INIT;
    int rc = controller_upsert(cluster->controller, (enum object_kind)tag, object,
                               &from_api_server, &err);
    if (rc != 0) {
        struct kube_meta meta = {0};
        kube_meta_read(object, &meta);
        log_warn("object cannot be read; what was known of it stays",
                 LOG_STR("kind", object_kinds[tag].kind),
                 LOG_SLICE("namespace", meta.namespace_name),
                 LOG_SLICE("name", meta.name), LOG_STR("error", err.text));
    }
    if (tag == OBJECT_MODELBACKEND) {
        update_demand(cluster);
    }
}

static void on_remove(void *arg, int tag, struct slice namespace_name, struct slice name)
{
    struct cluster *cluster = arg;
    controller_delete(cluster->controller, (enum object_kind)tag, namespace_name, name);
    if (tag == OBJECT_MODELBACKEND) {
        update_demand(cluster);
    }
}

// By the time that all AIRoutes and ModelBackends are known, so is what they name.
static void tell_synced(struct cluster *cluster)
{
    if (cluster->is_synced && kube_named_is_settled(cluster->named)) {
        controller_synced(cluster->controller);
    }
}

static void on_synced(void *arg)
{
    struct cluster *cluster = arg;
    cluster->is_synced = true;
    tell_synced(cluster);
}

static void on_named_settled(void *arg)
{
    tell_synced(arg);
}

static struct json_object *current_object(void *arg, enum object_kind kind, struct slice namespace,
                                          struct slice name)
{
    struct cluster *cluster = arg;
    return kube_source_get(cluster->source, (int)kind, namespace, name);
}

static struct kube_resource resource_of(int kind)
{
    return (struct kube_resource){.api_version = object_kinds[kind].api_version,
                                  .kind = object_kinds[kind].kind,
                                  .plural = object_kinds[kind].plural};
}

static int start_source(struct cluster *cluster, const struct cluster_config *config,
                        struct error *err)
{
    struct kube_source_kind kinds[OBJECT_LISTED_COUNT];
    struct kube_named_kind named_kinds[OBJECT_KIND_COUNT - OBJECT_LISTED_COUNT];
    for (int k = 0; k < OBJECT_LISTED_COUNT; k++) {
        kinds[k] = (struct kube_source_kind){
            .resource = resource_of(k),
            .tag = k,
            // Only what we write statuses for is kept: the writer compares with it.
            .keep_objects = k == OBJECT_AIROUTE || k == OBJECT_MODELBACKEND,
            .on_demand = k == OBJECT_POD,
        };
    }
    for (size_t n = 0; n < ARRAY_LEN(named_kinds); n++) {
        int tag = OBJECT_LISTED_COUNT + (int)n;
        named_kinds[n] = (struct kube_named_kind){.resource = resource_of(tag), .tag = tag};
    }
    static const struct kube_source_events events = {
        .upsert = on_upsert, .remove = on_remove, .synced = on_synced};
    static const struct kube_source_events named_events = {
        .upsert = on_upsert, .remove = on_remove, .synced = on_named_settled};
    struct kube_api *api = kube_client_api(cluster->client);
    const struct status_writer_options options = {.current = current_object, .arg = cluster};
    if (kube_source_new(config->loop, api, kinds, ARRAY_LEN(kinds), config->watch_namespace,
                        &events, cluster, &cluster->source) != 0 ||
        kube_named_new(config->loop, api, named_kinds, ARRAY_LEN(named_kinds), &named_events,
                       cluster, &cluster->named) != 0 ||
        status_writer_new(config->loop, api, &options, &cluster->writer) != 0) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    return 0;
}

int cluster_start(const struct cluster_config *config, struct cluster **ret_cluster,
                  struct error *err)
{
    struct cluster *cluster = calloc(1, sizeof(*cluster));
    if (cluster == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    cluster->controller = config->controller;
    const struct kube_config_options where = {.kubeconfig = config->kubeconfig,
                                              .context = config->context};
    struct kube_config *kube = NULL;
    int rc = kube_config_load(&where, &kube, err);
    if (rc == 0) {
        log_info("API server", LOG_STR("server", kube->server), LOG_STR("by", kube->origin));
        rc = curl_loop_new(config->loop, &cluster->curl, err);
        if (rc != 0) {
            kube_config_free(kube);
        }
    }
    if (rc == 0) {
        rc = kube_client_new(config->loop, cluster->curl, kube, "headrace/" HEADRACE_VERSION,
                             &cluster->client, err);
    }
    if (rc == 0) {
        rc = start_source(cluster, config, err);
    }
    if (rc != 0) {
        cluster_stop(cluster);
        return rc;
    }
    *ret_cluster = cluster;
    kube_source_start(cluster->source);
    return 0;
}

void cluster_stop(struct cluster *cluster)
{
    if (cluster == NULL) {
        return;
    }
    status_writer_free(cluster->writer);
    kube_named_free(cluster->named);
    kube_source_free(cluster->source);
    kube_client_free(cluster->client);
    curl_loop_free(cluster->curl);
    free(cluster);
}

void cluster_reference(struct cluster *cluster, enum object_kind kind, struct slice namespace,
                       struct slice name, bool is_wanted)
{
    if (!is_wanted) {
        kube_named_unwant(cluster->named, (int)kind, namespace, name);
    } else if (kube_named_want(cluster->named, (int)kind, namespace, name) != 0) {
        log_error("out of memory: an object is not watched",
                  LOG_STR("kind", object_kinds[kind].kind), LOG_SLICE("namespace", namespace),
                  LOG_SLICE("name", name));
    }
}

void cluster_write_status(struct cluster *cluster, const struct object_status *status)
{
    if (status_writer_want(cluster->writer, status) != 0) {
        log_warn("a status is not written: out of memory", LOG_STR("name", status->name));
    }
}

void cluster_withdraw_status(struct cluster *cluster, enum object_kind kind, struct slice namespace,
                             struct slice name)
{
    status_writer_withdraw(cluster->writer, kind, namespace, name);
}

void cluster_forget_status(struct cluster *cluster, enum object_kind kind, struct slice namespace,
                           struct slice name)
{
    status_writer_gone(cluster->writer, kind, namespace, name);
}

void cluster_trouble(const struct cluster *cluster, struct strbuf *to)
{
    kube_source_trouble(cluster->source, to);
    kube_named_trouble(cluster->named, to);
}

static void report_kind(const struct cluster *cluster, int tag, struct metrics *metrics)
{
    struct kube_source_state state = {0};
    struct kube_reflector_counters sums;
    const struct kube_reflector_counters *c = &sums;
    bool is_watched;
    if (tag < OBJECT_LISTED_COUNT) {
        is_watched = kube_source_look(cluster->source, tag, &state);
        c = kube_source_counters(cluster->source, tag);
    } else {
        is_watched = kube_named_look(cluster->named, tag, &sums, &state);
    }
    const double values[METRIC_KUBE_COUNT] = {
        [METRIC_KUBE_LISTS] = (double)c->lists,
        [METRIC_KUBE_WATCHES] = (double)c->watches,
        [METRIC_KUBE_EVENTS] = (double)c->events,
        [METRIC_KUBE_FAILURES] = (double)c->failures,
        [METRIC_KUBE_LISTS_DOUBTED] = (double)c->prunes_held,
        [METRIC_KUBE_IN_TOUCH] = state.is_in_touch,
        [METRIC_KUBE_HEARD_AGE] = (double)state.silent_ms / 1000,
    };
    metrics_kube_set(metrics, (unsigned)tag, is_watched ? object_kinds[tag].kind : NULL, values);
}

void cluster_report(const struct cluster *cluster, struct metrics *metrics)
{
    _Static_assert((int)OBJECT_KIND_COUNT <= (int)METRIC_KUBE_KINDS_MAX, "a row for each kind");
    for (int tag = 0; tag < OBJECT_KIND_COUNT; tag++) {
        report_kind(cluster, tag, metrics);
    }
    struct status_writer_counters c;
    status_writer_counters(cluster->writer, &c);
    metrics_control_set(metrics, METRIC_CONTROL_STATUS_WRITTEN, (double)c.written);
    metrics_control_set(metrics, METRIC_CONTROL_STATUS_CONFLICT, (double)c.conflicts);
    metrics_control_set(metrics, METRIC_CONTROL_STATUS_REFUSED, (double)c.refused);
    metrics_control_set(metrics, METRIC_CONTROL_STATUS_FAILED, (double)c.failed);
    metrics_control_set(metrics, METRIC_CONTROL_STATUS_UNDONE, (double)c.undone);
    metrics_control_set(metrics, METRIC_CONTROL_STATUS_PENDING, (double)c.pending);
}
