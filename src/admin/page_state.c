// /debug/state: what the instance holds at this moment.
#include <stdio.h>

#include "admin/page.h"
#include "admin/state.h"
#include "base/clock.h"
#include "base/log.h"
#include "proxy/dump.h"

void state_write(const struct admin_config *config, unsigned most, struct strbuf *out)
{
    char when[CLOCK_RFC3339_SIZE];
    char why[256] = "";
    clock_format_rfc3339(clock_wall_ns(), when, sizeof(when));
    bool ready = config->ready == NULL || config->ready(config->ready_arg, why, sizeof(why));
    const struct snapshot *snapshot = publisher_current(config->publisher);
    page_open(out, "", '{');
    page_str(out, "version", slice_of_str(config->version));
    page_str(out, "time", slice_of_str(when));
    page_num(out, "up_seconds",
             (double)(clock_mono_ms() - config->started_ms) / 1000);
    page_bool(out, "ready", ready);
    if (!ready) {
        page_str(out, "not_ready", slice_of_str(why));
    }
    page_str(out, "log_level", slice_of_str(log_level_name(log_current_level())));
    page_num(out, "generation", snapshot != NULL ? (double)snapshot->generation : 0);
    if (config->proxy != NULL) {
        dump_limits(config->proxy, out);
        dump_workers(config->proxy, most, out);
    }
    page_backends(config, out);
    page_close(out, '}');
}

unsigned page_state(struct page_context *context, struct strbuf *out)
{
    struct slice n = page_argument(context, "n", NULL);
    uint64_t most = DUMP_MOST_DEFAULT;
    if (n.ptr != NULL && (slice_to_u64(n, &most) != 0 || most > DUMP_MOST_MAX)) {
        return page_error(out, 400, "n must be a number from 0 to 1000");
    }
    state_write(context->config, (unsigned)most, out);
    return 200;
}
