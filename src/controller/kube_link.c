#include "controller/kube_link.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "kube/client.h"
#include "kube/source.h"

struct kube_link {
    struct loop *loop;
    struct kube_client *client;
    struct kube_source *source;
    struct status_writer *writer;
    struct controller *controller; // NULL until started
    struct task demand;
};

static void demand(void *arg)
{
    struct kube_link *link = arg;
    kube_source_demand(link->source, OBJECT_POD, controller_needs_pods(link->controller));
}

static void on_demand(struct task *task, void *arg)
{
    (void)task;
    demand(arg);
}

// Once a turn, however many ModelBackends changed in it.
static void look_at_demand(struct kube_link *link, int tag)
{
    if (tag == OBJECT_MODELBACKEND) {
        loop_task_set(link->loop, &link->demand, on_demand, link);
    }
}

static void on_upsert(void *arg, int tag, struct json_object *object)
{
    struct kube_link *link = arg;
    const struct object_origin origin = {.line = 0};
    struct error err = ERROR_INIT;
    if (controller_upsert(link->controller, (enum object_kind)tag, object, &origin, &err) != 0) {
        log_warn("an object cannot be read; what was known of it stays", LOG_STR("why", err.text));
    }
    look_at_demand(link, tag);
}

static void on_remove(void *arg, int tag, struct slice namespace_name, struct slice name)
{
    struct kube_link *link = arg;
    controller_delete(link->controller, (enum object_kind)tag, namespace_name, name);
    look_at_demand(link, tag);
}

static void on_synced(void *arg)
{
    struct kube_link *link = arg;
    log_info("everything was listed");
    controller_synced(link->controller);
}

static struct json_object *current_object(void *arg, enum object_kind kind, struct slice namespace,
                                          struct slice name)
{
    struct kube_link *link = arg;
    return kube_source_get(link->source, (int)kind, namespace, name);
}

static int make_parts(struct kube_link *link, const char *watch_namespace)
{
    static const struct kube_source_events events = {
        .upsert = on_upsert, .remove = on_remove, .before_synced = demand, .synced = on_synced};
    struct kube_source_kind kinds[OBJECT_KIND_COUNT];
    for (int i = 0; i < OBJECT_KIND_COUNT; i++) {
        kinds[i] = (struct kube_source_kind){
            .resource = {.api_version = object_kinds[i].api_version,
                         .kind = object_kinds[i].kind,
                         .plural = object_kinds[i].plural},
            .tag = i,
            // The status is compared with what is wanted; of the others versions are enough.
            .keep_objects = i == OBJECT_AIROUTE || i == OBJECT_MODELBACKEND,
            .on_demand = i == OBJECT_POD,
        };
    }
    const char *namespace_name =
        watch_namespace != NULL && *watch_namespace != '\0' ? watch_namespace : NULL;
    int rc = kube_source_new(link->loop, kube_client_api(link->client), kinds, OBJECT_KIND_COUNT,
                             namespace_name, &events, link, &link->source);
    struct status_writer_options options = {.current = current_object, .arg = link};
    return rc != 0 ? rc
                   : status_writer_new(link->loop, kube_client_api(link->client), &options,
                                       &link->writer);
}

int kube_link_new(const struct kube_link_config *config, struct kube_link **ret_link,
                  struct error *err)
{
    struct kube_config *where = NULL;
    struct kube_link *link = calloc(1, sizeof(*link));
    if (link == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    link->loop = config->loop;
    int rc = kube_config_load(&config->where, &where, err);
    if (rc == 0) {
        rc = kube_client_new(config->loop, config->curl, where, config->user_agent, &link->client,
                             err);
    }
    if (rc == 0 && (rc = make_parts(link, config->watch_namespace)) != 0) {
        error_set(err, rc, "out of memory");
    }
    if (rc != 0) {
        kube_link_free(link);
        return rc;
    }
    *ret_link = link;
    return 0;
}

void kube_link_start(struct kube_link *link, struct controller *controller)
{
    link->controller = controller;
    kube_source_start(link->source);
}

void kube_link_stop(struct kube_link *link)
{
    loop_task_cancel(link->loop, &link->demand);
    status_writer_free(link->writer);
    link->writer = NULL;
    kube_source_free(link->source);
    link->source = NULL;
    kube_client_free(link->client);
    link->client = NULL;
}

void kube_link_free(struct kube_link *link)
{
    if (link != NULL) {
        kube_link_stop(link);
        free(link);
    }
}

void kube_link_status(void *arg, const struct object_status *status)
{
    struct kube_link *link = arg;
    if (link->writer != NULL && status_writer_want(link->writer, status) != 0) {
        log_error("out of memory: a status is not written", LOG_STR("name", status->name));
    }
}

void kube_link_status_gone(void *arg, enum object_kind kind, struct slice namespace,
                           struct slice name)
{
    struct kube_link *link = arg;
    if (link->writer != NULL) {
        status_writer_gone(link->writer, kind, namespace, name);
    }
}

void kube_link_set_leader(struct kube_link *link, bool is_leader)
{
    if (link->writer != NULL) {
        status_writer_set_open(link->writer, is_leader);
    }
}

const char *kube_link_server(const struct kube_link *link)
{
    return kube_client_config(link->client)->server;
}

const char *kube_link_origin(const struct kube_link *link)
{
    return kube_client_config(link->client)->origin;
}

void kube_link_trouble(const struct kube_link *link, struct strbuf *to)
{
    if (link->source != NULL) {
        kube_source_trouble(link->source, to);
    }
}

const struct kube_reflector_counters *kube_link_watch_counters(const struct kube_link *link,
                                                               enum object_kind kind)
{
    return link->source != NULL ? kube_source_counters(link->source, (int)kind) : NULL;
}

void kube_link_status_counters(const struct kube_link *link, struct status_writer_counters *ret)
{
    *ret = (struct status_writer_counters){.wishes = 0};
    if (link->writer != NULL) {
        status_writer_counters(link->writer, ret);
    }
}
