// The control half's source and sink when there is an API server: watches into the controller,
// statuses back. Wiring only; the work is done in kube/ and status/.
#pragma once

#include "base/error.h"
#include "controller/controller.h"
#include "event/loop.h"

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

void cluster_write_status(struct cluster *cluster, const struct object_status *status);
void cluster_forget_status(struct cluster *cluster, enum object_kind kind, struct slice namespace,
                           struct slice name);
