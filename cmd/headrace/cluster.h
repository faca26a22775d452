// The control half's source and sink when there is an API server: watches into the controller,
// statuses back. Wiring only; the work is done in kube/ and status/.
#pragma once

#include "base/error.h"
#include "controller/controller.h"
#include "event/loop.h"
#include "observe/metrics.h"

struct cluster;

struct cluster_config {
    struct loop *loop;
    struct controller *controller;
    const char *kubeconfig; // NULL: in-cluster, else the usual places
    const char *context;    // NULL: the kubeconfig's own
    const char *watch_namespace; // NULL = all
};

MUST_CHECK int cluster_start(const struct cluster_config *config, struct cluster **ret_cluster,
                             struct error *err);
void cluster_stop(struct cluster *cluster);

// The controller needs a Secret or ConfigMap, or no longer.
void cluster_reference(struct cluster *cluster, enum object_kind kind, struct slice namespace,
                       struct slice name, bool is_wanted);
void cluster_write_status(struct cluster *cluster, const struct object_status *status);
void cluster_withdraw_status(struct cluster *cluster, enum object_kind kind, struct slice namespace,
                             struct slice name);
// What is in the way of knowing everything: one line for each kind in trouble; nothing when all is
// well.
void cluster_trouble(const struct cluster *cluster, struct strbuf *to);
// Brings the metrics of the watches and of the status writer up to date.
void cluster_report(const struct cluster *cluster, struct metrics *metrics);
void cluster_forget_status(struct cluster *cluster, enum object_kind kind, struct slice namespace,
                           struct slice name);
