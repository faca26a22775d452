// Ties the controller to an API server: objects in, statuses out.
//
//   kube_link_new(&config, &link, &err);            // finds the API server; no traffic yet
//   … controller_new with sink.status = kube_link_status, sink.status_gone =
//     kube_link_status_gone (through the owner's own sink when it has more to do) …
//   kube_link_start(link, controller);
//   … run the loop …
//   kube_link_stop(link);                           // before controller_free
//   kube_link_free(link);
//
// The control thread only.
#pragma once

#include "base/error.h"
#include "base/macros.h"
#include "base/strbuf.h"
#include "controller/controller.h"
#include "event/loop.h"
#include "kube/config.h"
#include "kube/reflector.h"
#include "net/curl_loop.h"
#include "status/writer.h"

struct kube_link;

struct kube_link_config {
    struct loop *loop;
    struct curl_loop *curl;
    struct kube_config_options where; // --kubeconfig, --context; all NULL: look around
    const char *watch_namespace;      // NULL or "": all
    const char *user_agent;           // "headrace/1.2.3"
};

MUST_CHECK int kube_link_new(const struct kube_link_config *config, struct kube_link **ret_link,
                             struct error *err);

// Begins to list and watch. Calls controller_synced once everything was listed.
void kube_link_start(struct kube_link *link, struct controller *controller);

// No traffic after this; the controller may be freed.
void kube_link_stop(struct kube_link *link);
// NULL is fine.
void kube_link_free(struct kube_link *link);

// For the controller's sink, with the link as arg.
void kube_link_status(void *link, const struct object_status *status);
void kube_link_status_gone(void *link, enum object_kind kind, struct slice namespace,
                           struct slice name);

// Only the leader writes statuses. Open at first.
void kube_link_set_leader(struct kube_link *link, bool is_leader);

// "https://…, context …": for the log at start.
const char *kube_link_server(const struct kube_link *link);
const char *kube_link_origin(const struct kube_link *link);

// One line for each kind that is in trouble; nothing when all is well.
void kube_link_trouble(const struct kube_link *link, struct strbuf *to);

const struct kube_reflector_counters *kube_link_watch_counters(const struct kube_link *link,
                                                               enum object_kind kind);
void kube_link_status_counters(const struct kube_link *link, struct status_writer_counters *ret);
