// Where the API server is and who we are: from a kubeconfig, or from the pod that we run in.
// The same fields and precedence as kubectl (client-go tools/clientcmd, rest.InClusterConfig).
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/macros.h"

// A program that prints credentials (client.authentication.k8s.io/v1 or v1beta1).
struct kube_exec_spec {
    char *api_version;
    char *command; // absolute, or a bare name for PATH
    char **args;   // NULL-terminated, without the command
    char **env;    // NULL-terminated "NAME=value", added to our own environment
    char *install_hint;
    bool provide_cluster_info;
    struct json_object *extension; // the cluster's own configuration for the program; may be NULL
};

// Immutable. NULL means not given. Where both are given, data beats file, and token_file beats
// token; PEM text is NUL-terminated.
struct kube_config {
    char *server; // "https://host:port/prefix" without a slash at the end
    char *origin; // for people: "context NAME of FILE", "the pod's service account"
    char *namespace_name;
    bool insecure;
    char *tls_server_name;
    char *proxy_url;
    char *ca_file;
    char *ca_pem;
    char *cert_file;
    char *cert_pem;
    char *key_file;
    char *key_pem;
    char *token;
    char *token_file;
    char *username;
    char *password;
    char *as_user;
    char *as_uid;
    char **as_groups; // NULL-terminated, or NULL
    struct kube_exec_spec *exec;
};

struct kube_config_options {
    const char *kubeconfig;       // --kubeconfig: this file only; NULL: look around
    const char *context;          // NULL: the file's current-context
    const char *service_account;  // NULL: /var/run/secrets/kubernetes.io/serviceaccount
};

// Looks, in this order, at options->kubeconfig, the files of $KUBECONFIG (merged, first wins;
// absent ones are skipped), the pod's own service account when $KUBERNETES_SERVICE_HOST is set, and
// ~/.kube/config. options may be NULL. Reads files and the environment; start-up only.
// 0, or a negative code with err saying what to mend; -ENOENT when nothing was found.
MUST_CHECK int kube_config_load(const struct kube_config_options *options,
                                struct kube_config **ret_config, struct error *err);

void kube_config_free(struct kube_config *config);
