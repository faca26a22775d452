// /log-level: shows and changes the level of the process's log while it runs.
#include <arpa/inet.h>
#include <string.h>

#include "admin/page.h"
#include "base/log.h"

static unsigned show(struct strbuf *out)
{
    page_open(out, "", '{');
    page_str(out, "level", slice_of_str(log_level_name(log_current_level())));
    page_close(out, '}');
    return 200;
}

unsigned page_log_level(struct page_context *context, struct strbuf *out)
{
    (void)context;
    return show(out);
}

static bool has_header(struct page_context *context, const char *name)
{
    return MHD_lookup_connection_value(context->connection, MHD_HEADER_KIND, name) != NULL;
}

static struct in6_addr address_of(const struct sockaddr_storage *socket)
{
    if (socket->ss_family == AF_INET6) {
        return ((const struct sockaddr_in6 *)socket)->sin6_addr;
    }
    struct in6_addr mapped = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&mapped.s6_addr[12], &((const struct sockaddr_in *)socket)->sin_addr, 4);
    return mapped;
}

// From this machine or pod: over loopback, or from the address that is asked.
static bool comes_from_here(struct page_context *context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(context->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct sockaddr_storage peer = {0}, own = {0};
    socklen_t peer_len = sizeof(peer), own_len = sizeof(own);
    if (info == NULL ||
        getpeername(info->connect_fd, (struct sockaddr *)&peer, &peer_len) != 0 ||
        getsockname(info->connect_fd, (struct sockaddr *)&own, &own_len) != 0) {
        return false;
    }
    struct in6_addr from = address_of(&peer);
    struct in6_addr to = address_of(&own);
    bool is_loopback = IN6_IS_ADDR_LOOPBACK(&from) ||
                       (IN6_IS_ADDR_V4MAPPED(&from) && from.s6_addr[12] == 127);
    return is_loopback || memcmp(&from, &to, sizeof(from)) == 0;
}

unsigned put_log_level(struct page_context *context, struct strbuf *out)
{
    struct slice text = page_argument(context, "level", NULL);
    enum log_level level;
    // A page in somebody's browser cannot leave out Origin, and a PUT from elsewhere would be asked
    // for first, which is refused.
    if (has_header(context, "Origin") || has_header(context, "Sec-Fetch-Site")) {
        return page_error(out, 403, "not from a browser");
    }
    if (!comes_from_here(context)) {
        return page_error(out, 403,
                          "only from the same machine or pod: kubectl exec, port-forward");
    }
    if (text.ptr == NULL || log_level_parse(text, &level) != 0) {
        return page_error(out, 400, "level must be debug, info, warn or error");
    }
    // Said at whatever level: who reads the log must know why it changes.
    struct log_field fields[] = {LOG_STR("from", log_level_name(log_current_level())),
                                 LOG_STR("to", log_level_name(level))};
    log_set_level(level);
    log_write(LOG_LEVEL_INFO, "log level changed", fields, ARRAY_LEN(fields));
    return show(out);
}
