#include "kube/auth.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "kube/exec.h"
#include "kube/file.h"
#include "kube/timestamp.h"

enum {
    TOKEN_AGE_MS = 60 * 1000,
    CERTIFICATE_AGE_MS = 5 * 60 * 1000,
    TOKEN_MAX = 64 << 10,
    PEM_MAX = 4 << 20,
    EXEC_TIMEOUT_MS = 60 * 1000,
    EXEC_PAUSE_MS = 1000,
    EXEC_LEEWAY_S = 10, // so that a token does not die on its way
};

struct kube_auth {
    struct loop *loop;
    const struct kube_config *config;
    uint64_t serial;
    struct kube_file token_file;
    struct kube_file ca_file;
    struct kube_file cert_file;
    struct kube_file key_file;
    // What the program gave; valid until expires_s (0 = for ever).
    char *exec_token;
    char *exec_cert;
    char *exec_key;
    int64_t exec_expires_s;
    bool exec_valid;
    struct kube_exec_run *run;
    uint64_t failed_at_ms;
    int failure; // of the last run
    struct error failure_text;
    struct list_node waiters;
};

int kube_auth_new(struct loop *loop, const struct kube_config *config, struct kube_auth **ret_auth)
{
    struct kube_auth *auth = calloc(1, sizeof(*auth));
    if (auth == NULL) {
        return -ENOMEM;
    }
    auth->loop = loop;
    auth->config = config;
    auth->serial = 1;
    list_init(&auth->waiters);
    kube_file_init(&auth->token_file, config->token_file, TOKEN_MAX);
    kube_file_init(&auth->ca_file, config->ca_pem == NULL ? config->ca_file : NULL, PEM_MAX);
    kube_file_init(&auth->cert_file, config->cert_pem == NULL ? config->cert_file : NULL, PEM_MAX);
    kube_file_init(&auth->key_file, config->key_pem == NULL ? config->key_file : NULL, PEM_MAX);
    *ret_auth = auth;
    return 0;
}

static void wipe_free(char **text)
{
    if (*text != NULL) {
        explicit_bzero(*text, strlen(*text));
        free(*text);
        *text = NULL;
    }
}

static void forget_exec(struct kube_auth *auth)
{
    wipe_free(&auth->exec_token);
    wipe_free(&auth->exec_cert);
    wipe_free(&auth->exec_key);
    auth->exec_valid = false;
}

void kube_auth_free(struct kube_auth *auth)
{
    if (auth == NULL) {
        return;
    }
    BUG_ON(!list_empty(&auth->waiters));
    kube_exec_cancel(auth->run);
    forget_exec(auth);
    kube_file_fini(&auth->token_file);
    kube_file_fini(&auth->ca_file);
    kube_file_fini(&auth->cert_file);
    kube_file_fini(&auth->key_file);
    free(auth);
}

// ---- the program ----

static void tell_waiters(struct kube_auth *auth, int rc, const struct error *err)
{
    struct list_node batch; // who waits again from inside ready waits for the next run
    list_init(&batch);
    while (!list_empty(&auth->waiters)) {
        struct list_node *node = auth->waiters.next;
        list_remove(node);
        list_push_back(&batch, node);
    }
    while (!list_empty(&batch)) {
        struct kube_auth_waiter *w = list_first(&batch, struct kube_auth_waiter, node);
        kube_auth_wait_cancel(w);
        w->ready(rc, err, w->arg);
    }
}

static char *dup_member(struct json_object *status, const char *key)
{
    struct json_object *value = NULL;
    if (!json_object_object_get_ex(status, key, &value) ||
        !json_object_is_type(value, json_type_string) || json_object_get_string_len(value) == 0) {
        return NULL;
    }
    return strdup(json_object_get_string(value));
}

static int take_status(struct kube_auth *auth, struct json_object *status, struct error *err)
{
    struct json_object *expires = NULL;
    int64_t expires_s = 0;
    if (json_object_object_get_ex(status, "expirationTimestamp", &expires) && expires != NULL &&
        kube_time_parse(slice_of_str(json_object_get_string(expires)), &expires_s) != 0) {
        return error_set(err, -EBADMSG, "its expirationTimestamp is not a time");
    }
    forget_exec(auth);
    auth->exec_token = dup_member(status, "token");
    auth->exec_cert = dup_member(status, "clientCertificateData");
    auth->exec_key = dup_member(status, "clientKeyData");
    auth->exec_expires_s = expires_s;
    if ((auth->exec_cert == NULL) != (auth->exec_key == NULL)) {
        return error_set(err, -EBADMSG, "it gave a client certificate or a key without the other");
    }
    if (auth->exec_token == NULL && auth->exec_cert == NULL) {
        return error_set(err, -EBADMSG, "it gave neither a token nor a certificate");
    }
    auth->exec_valid = true;
    return 0;
}

static int take_output(struct kube_auth *auth, struct slice output, struct error *err)
{
    json_tokener *tokener = json_tokener_new_ex(32);
    struct json_object *doc = NULL;
    struct json_object *version = NULL;
    struct json_object *status = NULL;
    if (tokener == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    doc = json_tokener_parse_ex(tokener, output.ptr != NULL ? output.ptr : "", (int)output.len);
    json_tokener_free(tokener);
    int rc = 0;
    if (!json_object_is_type(doc, json_type_object)) {
        rc = error_set(err, -EBADMSG, "its output is not a JSON object");
    } else if (!json_object_object_get_ex(doc, "apiVersion", &version) ||
               !json_object_is_type(version, json_type_string) ||
               strcmp(json_object_get_string(version), auth->config->exec->api_version) != 0) {
        rc = error_set(err, -EBADMSG, "its output is not of apiVersion %s",
                       auth->config->exec->api_version);
    } else if (!json_object_object_get_ex(doc, "status", &status) ||
               !json_object_is_type(status, json_type_object)) {
        rc = error_set(err, -EBADMSG, "its output has no status");
    } else {
        rc = take_status(auth, status, err);
    }
    json_object_put(doc);
    return rc;
}

static void on_exec_done(int rc, struct slice output, const struct error *why, void *arg)
{
    struct kube_auth *auth = arg;
    const struct kube_exec_spec *spec = auth->config->exec;
    struct error err = *why;
    auth->run = NULL;
    if (rc == 0) {
        rc = take_output(auth, output, &err);
    }
    auth->serial++;
    auth->failure = rc;
    if (rc != 0) {
        forget_exec(auth);
        auth->failed_at_ms = clock_mono_ms();
        error_prefix(&err, rc, "credential program %s", spec->command);
        auth->failure_text = err;
    }
    tell_waiters(auth, rc, &err);
}

static void add_member(struct json_object *to, const char *key, const char *value)
{
    if (value != NULL) {
        json_object_object_add(to, key, json_object_new_string(value));
    }
}

static char *base64_encode(struct slice data)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = malloc(data.len / 3 * 4 + 5);
    size_t n = 0;
    for (size_t i = 0; out != NULL && i < data.len; i += 3) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++) {
            bits = bits << 8 | (i + k < data.len ? (unsigned char)data.ptr[i + k] : 0u);
        }
        out[n++] = digits[bits >> 18 & 63];
        out[n++] = digits[bits >> 12 & 63];
        out[n++] = i + 1 < data.len ? digits[bits >> 6 & 63] : '=';
        out[n++] = i + 2 < data.len ? digits[bits & 63] : '=';
    }
    if (out != NULL) {
        out[n] = '\0';
    }
    return out;
}

static struct json_object *cluster_info(struct kube_auth *auth)
{
    const struct kube_config *config = auth->config;
    struct json_object *cluster = json_object_new_object();
    add_member(cluster, "server", config->server);
    add_member(cluster, "tls-server-name", config->tls_server_name);
    add_member(cluster, "proxy-url", config->proxy_url);
    json_object_object_add(cluster, "insecure-skip-tls-verify",
                           json_object_new_boolean(config->insecure));
    struct slice ca = config->ca_pem != NULL
                          ? slice_of_str(config->ca_pem)
                          : kube_file_get(&auth->ca_file, clock_mono_ms(), CERTIFICATE_AGE_MS);
    if (ca.len > 0) {
        char *encoded = base64_encode(ca);
        add_member(cluster, "certificate-authority-data", encoded);
        free(encoded);
    }
    json_object_object_add(cluster, "config", json_object_get(config->exec->extension));
    return cluster;
}

// The KUBERNETES_EXEC_INFO variable (client-go plugin/pkg/client/auth/exec).
static char *exec_info(struct kube_auth *auth)
{
    const struct kube_exec_spec *spec = auth->config->exec;
    struct json_object *doc = json_object_new_object();
    struct json_object *inner = json_object_new_object();
    add_member(doc, "apiVersion", spec->api_version);
    add_member(doc, "kind", "ExecCredential");
    json_object_object_add(inner, "interactive", json_object_new_boolean(false));
    if (spec->provide_cluster_info) {
        json_object_object_add(inner, "cluster", cluster_info(auth));
    }
    json_object_object_add(doc, "spec", inner);
    struct strbuf text;
    strbuf_init(&text, PEM_MAX);
    strbuf_add_str(&text, "KUBERNETES_EXEC_INFO=");
    strbuf_add_str(&text, json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PLAIN));
    char *out = text.failed ? NULL : slice_dup(strbuf_slice(&text));
    strbuf_fini(&text);
    json_object_put(doc);
    return out;
}

static int start_exec(struct kube_auth *auth, struct error *err)
{
    const struct kube_exec_spec *spec = auth->config->exec;
    size_t n_args = 0;
    size_t n_env = 0;
    while (spec->args != NULL && spec->args[n_args] != NULL) {
        n_args++;
    }
    while (spec->env != NULL && spec->env[n_env] != NULL) {
        n_env++;
    }
    char **argv = calloc(n_args + 2, sizeof(*argv));
    char **env = calloc(n_env + 2, sizeof(*env));
    char *info = exec_info(auth);
    int rc = -ENOMEM;
    if (argv != NULL && env != NULL && info != NULL) {
        argv[0] = spec->command;
        for (size_t i = 0; i < n_args; i++) {
            argv[i + 1] = spec->args[i];
        }
        for (size_t i = 0; i < n_env; i++) {
            env[i] = spec->env[i];
        }
        env[n_env] = info;
        rc = kube_exec_start(auth->loop, argv, env, EXEC_TIMEOUT_MS, on_exec_done, auth, &auth->run,
                             err);
    } else {
        error_set(err, rc, "out of memory");
    }
    free(argv);
    free(env);
    free(info);
    if (rc == -ENOENT && spec->install_hint != NULL) {
        error_set(err, rc, "cannot run %s: it is not there. %s", spec->command, spec->install_hint);
    }
    return rc;
}

// ---- getting ----

static int get_exec(struct kube_auth *auth, struct error *err)
{
    int64_t now_s = (int64_t)(clock_wall_ns() / 1000000000u);
    if (auth->exec_valid && (auth->exec_expires_s == 0 ||
                             now_s < auth->exec_expires_s - EXEC_LEEWAY_S)) {
        return 0;
    }
    if (auth->run != NULL) {
        return -EINPROGRESS;
    }
    if (auth->failure != 0 && clock_mono_ms() - auth->failed_at_ms < EXEC_PAUSE_MS) {
        if (err != NULL) {
            *err = auth->failure_text;
        }
        return auth->failure;
    }
    int rc = start_exec(auth, &auth->failure_text);
    auth->failure = rc;
    if (rc != 0) {
        auth->failed_at_ms = clock_mono_ms();
        if (err != NULL) {
            *err = auth->failure_text;
        }
        return rc;
    }
    return -EINPROGRESS;
}

static struct slice pem(const char *data, struct kube_file *file, uint64_t now_ms)
{
    return data != NULL ? slice_of_str(data) : kube_file_get(file, now_ms, CERTIFICATE_AGE_MS);
}

// A file that was named and has never had contents: nothing else may take its place, neither the
// authorities of the system nor acting as nobody.
static int check_files(const struct kube_auth *auth, struct error *err)
{
    const struct kube_file *files[] = {&auth->ca_file, &auth->cert_file, &auth->key_file,
                                       &auth->token_file};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        bool spare = files[i] == &auth->token_file && auth->config->token != NULL;
        if (files[i]->path != NULL && files[i]->text.len == 0 && !spare) {
            int rc = files[i]->failure;
            return error_set(err, rc, "cannot read %s: %s", files[i]->path,
                             rc == -ENODATA ? "it is empty" : strerror(-rc));
        }
    }
    return 0;
}

int kube_auth_get(struct kube_auth *auth, struct kube_credentials *ret, struct error *err)
{
    const struct kube_config *config = auth->config;
    uint64_t now_ms = clock_mono_ms();
    struct kube_credentials c = {.token = SLICE_NULL};
    c.ca_pem = pem(config->ca_pem, &auth->ca_file, now_ms);
    c.cert_pem = pem(config->cert_pem, &auth->cert_file, now_ms);
    c.key_pem = pem(config->key_pem, &auth->key_file, now_ms);
    c.token = kube_file_get(&auth->token_file, now_ms, TOKEN_AGE_MS);
    int file_rc = check_files(auth, err);
    if (file_rc != 0) {
        return file_rc;
    }
    if (c.token.len == 0) {
        c.token = slice_of_str(config->token);
    }
    if (c.token.len == 0 && c.cert_pem.len == 0 && config->exec != NULL) {
        int rc = get_exec(auth, err);
        if (rc != 0) {
            return rc;
        }
        c.token = slice_of_str(auth->exec_token);
        c.cert_pem = slice_of_str(auth->exec_cert);
        c.key_pem = slice_of_str(auth->exec_key);
    }
    c.serial = auth->serial;
    *ret = c;
    return 0;
}

void kube_auth_wait(struct kube_auth *auth, struct kube_auth_waiter *w, kube_auth_ready *ready,
                    void *arg)
{
    BUG_ON(auth->run == NULL || w->is_waiting);
    w->ready = ready;
    w->arg = arg;
    w->is_waiting = true;
    list_push_back(&auth->waiters, &w->node);
}

void kube_auth_wait_cancel(struct kube_auth_waiter *w)
{
    if (w->is_waiting) {
        w->is_waiting = false;
        list_remove(&w->node);
    }
}

void kube_auth_reread_certificates(struct kube_auth *auth)
{
    kube_file_expire(&auth->ca_file);
    kube_file_expire(&auth->cert_file);
    kube_file_expire(&auth->key_file);
}

void kube_auth_reject(struct kube_auth *auth, uint64_t serial)
{
    if (serial != auth->serial) {
        return;
    }
    auth->serial++;
    kube_file_expire(&auth->token_file);
    kube_file_expire(&auth->cert_file);
    kube_file_expire(&auth->key_file);
    auth->exec_valid = false;
}
