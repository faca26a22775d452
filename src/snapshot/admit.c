// Which certificate a connection is given, and which requests it may then bring.
#include "snapshot/snapshot.h"

enum { HOST_MAX = 255 };

// "*.example.com" for "api.example.com", in buf; empty when the name has no label to spare.
static struct slice wildcard_of(struct slice name, char buf[HOST_MAX + 2])
{
    ptrdiff_t dot = slice_find_byte(name, '.');
    if (dot <= 0 || name.len > HOST_MAX) {
        return SLICE_NULL;
    }
    struct slice parent = slice_skip(name, (size_t)dot);
    buf[0] = '*';
    memcpy(buf + 1, parent.ptr, parent.len);
    return slice_of(buf, parent.len + 1);
}

const struct tls_host *snapshot_tls_host(const struct snapshot *snapshot, struct slice server_name)
{
    char buf[HOST_MAX + 2];
    const struct tls_host *host = map_get(&snapshot->tls_host_index, server_name);
    if (host == NULL) {
        struct slice wildcard = wildcard_of(server_name, buf);
        host = wildcard.len > 0 ? map_get(&snapshot->tls_host_index, wildcard) : NULL;
    }
    return host != NULL ? host : map_get(&snapshot->tls_host_index, SLICE(""));
}

static bool covers(struct slice pattern, struct slice host)
{
    return pattern.len == 0 || slice_eq(pattern, host) ||
           (slice_has_prefix(pattern, SLICE("*.")) && host.len >= pattern.len &&
            slice_has_suffix(host, slice_skip(pattern, 1)));
}

// The entry that says most about the host: its own name, else the longest wildcard, else "".
static const struct snap_client_auth *find_guard(const struct snap_rule *rule, struct slice host)
{
    const struct snap_client_auth *best = NULL;
    for (size_t i = 0; i < rule->client_auth_count; i++) {
        const struct snap_client_auth *auth = &rule->client_auth[i];
        if (!covers(auth->host, host)) {
            continue;
        }
        bool is_own = slice_eq(auth->host, host);
        if (is_own || best == NULL || auth->host.len > best->host.len) {
            best = auth;
        }
        if (is_own) {
            break;
        }
    }
    return best;
}

static bool is_known(const struct snap_client_auth *auth, const struct snap_client *client)
{
    return client->is_verified && auth->trust != NULL &&
           memcmp(client->trust_digest, auth->trust->digest, TLS_DIGEST_LEN) == 0;
}

bool snapshot_tells_client(const struct snap_rule *rule, struct slice host,
                           const struct snap_client *client)
{
    const struct snap_client_auth *auth =
        rule->client_auth_count != 0 && client->is_verified ? find_guard(rule, host) : NULL;
    return auth != NULL && auth->is_told && is_known(auth, client);
}

enum snap_admission snapshot_admit(const struct snap_rule *rule, struct slice host,
                                   const struct snap_client *client)
{
    if (rule->client_auth_count == 0) {
        return SNAP_ADMIT_YES;
    }
    const struct snap_client_auth *auth = find_guard(rule, host);
    if (auth == NULL || !auth->is_required) {
        return SNAP_ADMIT_YES;
    }
    if (!client->is_tls) {
        return SNAP_ADMIT_NEEDS_TLS;
    }
    return is_known(auth, client) ? SNAP_ADMIT_YES : SNAP_ADMIT_MISDIRECTED;
}
