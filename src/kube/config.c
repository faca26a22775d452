#include "kube/config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/slice.h"
#include "base/strbuf.h"
#include "json/yaml_json.h"
#include "kube/file.h"

enum { KUBECONFIG_MAX = 4 << 20, MAX_FILES = 64 };
static const char SERVICE_ACCOUNT[] = "/var/run/secrets/kubernetes.io/serviceaccount";

// One parsed file of the list.
struct config_file {
    char *path;
    struct json_object *doc;
};

struct lookup {
    struct config_file files[MAX_FILES];
    size_t n;
};

static void strv_free(char **list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        free(list[i]);
    }
    free(list);
}

static void secret_free(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

static void exec_spec_free(struct kube_exec_spec *spec)
{
    if (spec == NULL) {
        return;
    }
    free(spec->api_version);
    free(spec->command);
    free(spec->install_hint);
    strv_free(spec->args);
    strv_free(spec->env);
    json_object_put(spec->extension);
    free(spec);
}

void kube_config_free(struct kube_config *config)
{
    if (config == NULL) {
        return;
    }
    char *const plain[] = {config->server,   config->origin,    config->namespace_name,
                           config->proxy_url, config->ca_file,   config->ca_pem,
                           config->cert_file, config->cert_pem,  config->key_file,
                           config->username,  config->as_user,   config->as_uid,
                           config->token_file, config->tls_server_name};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        free(plain[i]);
    }
    secret_free(config->key_pem);
    secret_free(config->token);
    secret_free(config->password);
    strv_free(config->as_groups);
    exec_spec_free(config->exec);
    free(config);
}

// ---- small readers ----

static const char *get_str(struct json_object *node, const char *key)
{
    struct json_object *value = NULL;
    if (!json_object_is_type(node, json_type_object) ||
        !json_object_object_get_ex(node, key, &value) ||
        !json_object_is_type(value, json_type_string) || json_object_get_string_len(value) == 0) {
        return NULL;
    }
    return json_object_get_string(value);
}

static bool get_bool(struct json_object *node, const char *key)
{
    struct json_object *value = NULL;
    return json_object_is_type(node, json_type_object) &&
           json_object_object_get_ex(node, key, &value) &&
           json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}

static struct json_object *get_node(struct json_object *node, const char *key)
{
    struct json_object *value = NULL;
    if (json_object_is_type(node, json_type_object)) {
        json_object_object_get_ex(node, key, &value);
    }
    return value;
}

static int copy_str(struct json_object *node, const char *key, char **ret)
{
    const char *text = get_str(node, key);
    if (text == NULL) {
        return 0;
    }
    *ret = strdup(text);
    return *ret != NULL ? 0 : -ENOMEM;
}

// Paths are relative to the file that they stand in.
static char *resolve_path(const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');
    if (path[0] == '/' || slash == NULL) {
        return strdup(path);
    }
    struct strbuf buf;
    strbuf_init(&buf, 2 * PATH_MAX);
    strbuf_add(&buf, slice_of(file, (size_t)(slash - file) + 1));
    strbuf_add_str(&buf, path);
    char *full = buf.failed ? NULL : slice_dup(strbuf_slice(&buf));
    strbuf_fini(&buf);
    return full;
}

static int copy_path(struct json_object *node, const char *key, const char *file, char **ret)
{
    const char *path = get_str(node, key);
    if (path == NULL) {
        return 0;
    }
    *ret = resolve_path(file, path);
    return *ret != NULL ? 0 : -ENOMEM;
}

static int copy_base64(struct json_object *node, const char *key, const char *where, char **ret,
                       struct error *err)
{
    const char *text = get_str(node, key);
    if (text == NULL) {
        return 0;
    }
    *ret = base64_decode(slice_of_str(text), NULL);
    if (*ret == NULL || strlen(*ret) == 0) {
        return error_set(err, -EINVAL, "%s: %s is not base64", where, key);
    }
    return 0;
}

// ---- kubeconfig ----

static void lookup_fini(struct lookup *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->files[i].path);
        json_object_put(l->files[i].doc);
    }
}

static int lookup_add(struct lookup *l, const char *path, bool may_be_absent, struct error *err)
{
    struct strbuf text;
    if (l->n >= MAX_FILES) {
        return error_set(err, -E2BIG, "more than %d kubeconfig files", MAX_FILES);
    }
    strbuf_init(&text, KUBECONFIG_MAX);
    int rc = kube_file_read(path, &text);
    if (rc == -ENOENT && may_be_absent) {
        strbuf_fini(&text);
        return 0;
    }
    struct json_object *doc = NULL;
    if (rc != 0) {
        rc = error_set(err, rc, "cannot read kubeconfig %s: %s", path, strerror(-rc));
    } else {
        rc = yaml_json_one(strbuf_slice(&text), path, NULL, &doc, err);
    }
    if (text.ptr != NULL) {
        explicit_bzero(text.ptr, text.len);
    }
    strbuf_fini(&text);
    if (rc == 0 && doc != NULL && !json_object_is_type(doc, json_type_object)) {
        rc = error_set(err, -EINVAL, "%s is not a kubeconfig", path);
    }
    char *copy = rc == 0 ? strdup(path) : NULL;
    if (rc == 0 && copy == NULL) {
        rc = -ENOMEM;
    }
    if (rc != 0) {
        json_object_put(doc);
        return rc;
    }
    l->files[l->n++] = (struct config_file){.path = copy, .doc = doc};
    return 0;
}

// The entry of that name in the first file that has one: {name: NAME, <kind>: {…}}. *ret_node may
// be NULL when nothing is said under the name.
static bool find_entry(const struct lookup *l, const char *list_key, const char *entry_key,
                       const char *name, struct json_object **ret_node, const char **ret_path)
{
    for (size_t i = 0; i < l->n; i++) {
        struct json_object *list = get_node(l->files[i].doc, list_key);
        size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
        for (size_t k = 0; k < n; k++) {
            struct json_object *entry = json_object_array_get_idx(list, k);
            const char *entry_name = get_str(entry, "name");
            if (entry_name != NULL && strcmp(entry_name, name) == 0) {
                *ret_path = l->files[i].path;
                *ret_node = get_node(entry, entry_key);
                return true;
            }
        }
    }
    return false;
}

static int set_server(struct kube_config *config, const char *url, const char *path,
                      struct error *err)
{
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/') {
        len--;
    }
    bool has_scheme = strstr(url, "://") != NULL;
    if (len == 0 || (has_scheme && strncmp(url, "https://", 8) != 0 &&
                     strncmp(url, "http://", 7) != 0)) {
        return error_set(err, -EINVAL, "%s: server \"%s\" is not an http or https URL", path, url);
    }
    if (asprintf(&config->server, "%s%.*s", has_scheme ? "" : "https://", (int)len, url) < 0) {
        config->server = NULL;
        return -ENOMEM;
    }
    return 0;
}

static int read_cluster(struct kube_config *config, struct json_object *cluster, const char *path,
                        struct error *err)
{
    const char *server = get_str(cluster, "server");
    if (server == NULL) {
        return error_set(err, -EINVAL, "%s: the cluster has no server", path);
    }
    int rc = set_server(config, server, path, err);
    if (rc == 0) {
        rc = copy_base64(cluster, "certificate-authority-data", path, &config->ca_pem, err);
    }
    if (rc == 0) {
        rc = copy_path(cluster, "certificate-authority", path, &config->ca_file);
    }
    if (rc == 0) {
        rc = copy_str(cluster, "tls-server-name", &config->tls_server_name);
    }
    if (rc == 0) {
        rc = copy_str(cluster, "proxy-url", &config->proxy_url);
    }
    config->insecure = get_bool(cluster, "insecure-skip-tls-verify");
    if (rc == 0 && config->insecure && (config->ca_pem != NULL || config->ca_file != NULL)) {
        rc = error_set(err, -EINVAL,
                       "%s: insecure-skip-tls-verify and a certificate authority exclude each "
                       "other", path);
    }
    return rc;
}

static char **read_strings(struct json_object *list, int *rc)
{
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    char **out = calloc(n + 1, sizeof(*out));
    for (size_t i = 0; out != NULL && i < n; i++) {
        const char *text = json_object_get_string(json_object_array_get_idx(list, i));
        out[i] = strdup(text != NULL ? text : "");
        if (out[i] == NULL) {
            strv_free(out);
            out = NULL;
        }
    }
    *rc = out != NULL ? 0 : -ENOMEM;
    return out;
}

static char **read_env(struct json_object *list, int *rc)
{
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    char **out = calloc(n + 1, sizeof(*out));
    size_t at = 0;
    *rc = out != NULL ? 0 : -ENOMEM;
    for (size_t i = 0; *rc == 0 && i < n; i++) {
        struct json_object *item = json_object_array_get_idx(list, i);
        const char *name = get_str(item, "name");
        const char *value = get_str(item, "value");
        if (name == NULL) {
            continue;
        }
        if (asprintf(&out[at], "%s=%s", name, value != NULL ? value : "") < 0) {
            out[at] = NULL;
            *rc = -ENOMEM;
        }
        at++;
    }
    if (*rc != 0) {
        strv_free(out);
        return NULL;
    }
    return out;
}

static int check_exec(const struct kube_exec_spec *spec, const char *interactive, const char *path,
                      struct error *err)
{
    if (spec->command == NULL) {
        return error_set(err, -EINVAL, "%s: exec has no command", path);
    }
    if (spec->api_version == NULL ||
        (strcmp(spec->api_version, "client.authentication.k8s.io/v1") != 0 &&
         strcmp(spec->api_version, "client.authentication.k8s.io/v1beta1") != 0)) {
        return error_set(err, -EINVAL, "%s: exec apiVersion must be "
                         "client.authentication.k8s.io/v1 or v1beta1", path);
    }
    if (interactive != NULL && strcmp(interactive, "Always") == 0) {
        return error_set(err, -EINVAL, "%s: exec command %s wants a terminal (interactiveMode "
                         "Always), which there is none of here", path, spec->command);
    }
    return 0;
}

static int read_exec(struct kube_config *config, struct json_object *exec, const char *path,
                     struct error *err)
{
    struct kube_exec_spec *spec = calloc(1, sizeof(*spec));
    if (spec == NULL) {
        return -ENOMEM;
    }
    config->exec = spec;
    const char *command = get_str(exec, "command");
    int rc = copy_str(exec, "apiVersion", &spec->api_version);
    if (rc == 0) {
        rc = copy_str(exec, "installHint", &spec->install_hint);
    }
    if (rc == 0 && command != NULL) { // a bare name is looked up in PATH
        spec->command =
            strchr(command, '/') != NULL ? resolve_path(path, command) : strdup(command);
        rc = spec->command != NULL ? 0 : -ENOMEM;
    }
    if (rc == 0) {
        spec->args = read_strings(get_node(exec, "args"), &rc);
    }
    if (rc == 0) {
        spec->env = read_env(get_node(exec, "env"), &rc);
    }
    spec->provide_cluster_info = get_bool(exec, "provideClusterInfo");
    return rc == 0 ? check_exec(spec, get_str(exec, "interactiveMode"), path, err) : rc;
}

static bool is_absent_or(struct json_object *node, const char *key, enum json_type type)
{
    struct json_object *value = get_node(node, key);
    return value == NULL || json_object_is_type(value, type);
}

static int read_impersonation(struct kube_config *config, struct json_object *user,
                              const char *path, struct error *err)
{
    static const char *const texts[] = {"as", "as-uid"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!is_absent_or(user, texts[i], json_type_string)) {
            return error_set(err, -EINVAL, "%s: %s must be a string", path, texts[i]);
        }
    }
    struct json_object *groups = get_node(user, "as-groups");
    bool is_list = is_absent_or(user, "as-groups", json_type_array);
    size_t count = is_list && groups != NULL ? json_object_array_length(groups) : 0;
    for (size_t i = 0; i < count; i++) {
        is_list = is_list &&
                  json_object_is_type(json_object_array_get_idx(groups, i), json_type_string);
    }
    if (!is_list) {
        return error_set(err, -EINVAL, "%s: as-groups must be a list of strings", path);
    }
    struct json_object *extra = get_node(user, "as-user-extra");
    if (extra != NULL && !(json_object_is_type(extra, json_type_object) &&
                           json_object_object_length(extra) == 0)) {
        return error_set(err, -EINVAL, "%s: as-user-extra is not supported; use as, as-groups and "
                         "as-uid alone", path);
    }
    int rc = copy_str(user, "as", &config->as_user);
    rc = rc != 0 ? rc : copy_str(user, "as-uid", &config->as_uid);
    if (rc == 0 && count > 0) {
        config->as_groups = read_strings(groups, &rc);
    }
    if (rc == 0 && config->as_user == NULL && (count > 0 || config->as_uid != NULL)) {
        return error_set(err, -EINVAL, "%s: as-groups and as-uid need as", path);
    }
    return rc;
}

static int read_user(struct kube_config *config, struct json_object *user, const char *path,
                     struct error *err)
{
    int rc = copy_base64(user, "client-certificate-data", path, &config->cert_pem, err);
    rc = rc != 0 ? rc : copy_base64(user, "client-key-data", path, &config->key_pem, err);
    rc = rc != 0 ? rc : copy_path(user, "client-certificate", path, &config->cert_file);
    rc = rc != 0 ? rc : copy_path(user, "client-key", path, &config->key_file);
    rc = rc != 0 ? rc : copy_str(user, "token", &config->token);
    rc = rc != 0 ? rc : copy_path(user, "tokenFile", path, &config->token_file);
    rc = rc != 0 ? rc : copy_str(user, "username", &config->username);
    rc = rc != 0 ? rc : copy_str(user, "password", &config->password);
    rc = rc != 0 ? rc : read_impersonation(config, user, path, err);
    if (rc == 0 && get_node(user, "auth-provider") != NULL) {
        rc = error_set(err, -EINVAL, "%s: auth-provider was removed from Kubernetes in 1.26; use "
                       "exec", path);
    }
    struct json_object *exec = get_node(user, "exec");
    if (rc == 0 && exec != NULL) {
        rc = read_exec(config, exec, path, err);
    }
    bool cert = config->cert_pem != NULL || config->cert_file != NULL;
    bool key = config->key_pem != NULL || config->key_file != NULL;
    if (rc == 0 && cert != key) {
        rc = error_set(err, -EINVAL, "%s: client-certificate and client-key need each other", path);
    }
    return rc;
}

static struct json_object *find_extension(struct json_object *cluster)
{
    struct json_object *list = get_node(cluster, "extensions");
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *item = json_object_array_get_idx(list, i);
        const char *name = get_str(item, "name");
        if (name != NULL && strcmp(name, "client.authentication.k8s.io/exec") == 0) {
            return get_node(item, "extension");
        }
    }
    return NULL;
}

static int read_context(const struct lookup *l, const char *name, struct kube_config *config,
                        struct error *err)
{
    const char *path = NULL;
    const char *part_path = NULL;
    struct json_object *context = NULL;
    struct json_object *cluster = NULL;
    struct json_object *user = NULL;
    if (!find_entry(l, "contexts", "context", name, &context, &path)) {
        return error_set(err, -EINVAL, "%s: there is no context \"%s\"", l->files[0].path, name);
    }
    const char *cluster_name = get_str(context, "cluster");
    const char *user_name = get_str(context, "user");
    if (cluster_name == NULL ||
        !find_entry(l, "clusters", "cluster", cluster_name, &cluster, &part_path)) {
        return error_set(err, -EINVAL, "%s: context \"%s\" names no cluster that exists", path,
                         name);
    }
    int rc = read_cluster(config, cluster, part_path, err);
    if (rc == 0) {
        rc = copy_str(context, "namespace", &config->namespace_name);
    }
    if (rc == 0 && user_name != NULL) {
        if (!find_entry(l, "users", "user", user_name, &user, &part_path)) {
            return error_set(err, -EINVAL, "%s: context \"%s\" names user \"%s\", which is not "
                             "there", path, name, user_name);
        }
        rc = read_user(config, user, part_path, err);
    }
    if (rc == 0 && config->exec != NULL) {
        // Not copied through: the tree of the file goes away with the lookup.
        config->exec->extension = yaml_json_copy(find_extension(cluster));
    }
    if (rc == 0 && asprintf(&config->origin, "context \"%s\" of %s", name, path) < 0) {
        config->origin = NULL;
        rc = -ENOMEM;
    }
    return rc;
}

static int from_files(const struct lookup *l, const char *context, struct kube_config *config,
                      struct error *err)
{
    for (size_t i = 0; context == NULL && i < l->n; i++) {
        context = get_str(l->files[i].doc, "current-context");
    }
    if (context == NULL) {
        return error_set(err, -EINVAL, "%s: no current-context, and none was asked for",
                         l->files[0].path);
    }
    int rc = read_context(l, context, config, err);
    if (rc == -ENOMEM) {
        error_set(err, rc, "out of memory");
    }
    return rc;
}

// ---- in a pod ----

static int from_pod(const char *dir, struct kube_config *config, struct error *err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    bool v6 = strchr(host, ':') != NULL;
    struct strbuf text;
    strbuf_init(&text, 4096);
    int rc = 0;
    if (asprintf(&config->server, "https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "",
                 port != NULL && *port != '\0' ? port : "443") < 0 ||
        asprintf(&config->token_file, "%s/token", dir) < 0 ||
        asprintf(&config->ca_file, "%s/ca.crt", dir) < 0) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    config->origin = strdup("the pod's service account");
    const char *pod_namespace = getenv("POD_NAMESPACE");
    if (pod_namespace != NULL && *pod_namespace != '\0') {
        config->namespace_name = strdup(pod_namespace);
    } else {
        char *path = NULL;
        if (asprintf(&path, "%s/namespace", dir) >= 0) {
            if (kube_file_read(path, &text) == 0) {
                config->namespace_name = slice_dup(slice_trim(strbuf_slice(&text)));
            }
            free(path);
        }
    }
    strbuf_fini(&text);
    if (access(config->token_file, R_OK) != 0) {
        rc = error_set(err, -errno, "cannot read the service account token %s: %s",
                       config->token_file, strerror(errno));
    }
    return rc;
}

// ---- choosing ----

static int add_env_list(struct lookup *l, const char *list, struct error *err)
{
    struct slice rest = slice_of_str(list);
    struct slice part;
    int rc = 0;
    while (rc == 0 && slice_split(&rest, ':', &part)) {
        char *path = part.len > 0 ? slice_dup(part) : NULL;
        if (path != NULL) {
            rc = lookup_add(l, path, true, err);
            free(path);
        }
    }
    if (rc == 0 && l->n == 0) {
        rc = error_set(err, -ENOENT, "none of the files in KUBECONFIG (%s) exists", list);
    }
    return rc;
}

static int add_home(struct lookup *l, struct error *err)
{
    const char *home = getenv("HOME");
    char *path = NULL;
    int rc = 0;
    if (home != NULL && asprintf(&path, "%s/.kube/config", home) >= 0) {
        rc = lookup_add(l, path, true, err);
        free(path);
    }
    if (rc == 0 && l->n == 0) {
        rc = error_set(err, -ENOENT,
                       "no Kubernetes found: not in a pod (KUBERNETES_SERVICE_HOST is not set), no "
                       "KUBECONFIG, no ~/.kube/config; name a file with --kubeconfig, or run from "
                       "manifests with --config-dir");
    }
    return rc;
}

int kube_config_load(const struct kube_config_options *options, struct kube_config **ret_config,
                     struct error *err)
{
    static const struct kube_config_options none = {.kubeconfig = NULL};
    const struct kube_config_options *o = options != NULL ? options : &none;
    const char *list = getenv("KUBECONFIG");
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    struct lookup l = {.n = 0};
    struct kube_config *config = calloc(1, sizeof(*config));
    int rc;
    if (config == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    if (o->kubeconfig != NULL) {
        rc = lookup_add(&l, o->kubeconfig, false, err);
    } else if (list != NULL && *list != '\0') {
        rc = add_env_list(&l, list, err);
    } else if (host != NULL && *host != '\0') {
        rc = from_pod(o->service_account != NULL ? o->service_account : SERVICE_ACCOUNT, config,
                      err);
    } else {
        rc = add_home(&l, err);
    }
    if (rc == 0 && l.n > 0) {
        rc = from_files(&l, o->context, config, err);
    }
    lookup_fini(&l);
    if (rc != 0) {
        kube_config_free(config);
        return rc;
    }
    *ret_config = config;
    return 0;
}
