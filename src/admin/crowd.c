#include "admin/crowd.h"

void crowd_fini(struct crowd *crowd)
{
    for (unsigned i = 0; i < CROWD_PAGES_MAX; i++) {
        if (crowd->kept[i].made_ms != 0) {
            strbuf_fini(&crowd->kept[i].body);
            crowd->kept[i].made_ms = 0;
        }
    }
}

bool crowd_note(struct crowd *crowd, uint64_t now_ms)
{
    if (crowd->second != now_ms / 1000) {
        if (crowd->asked <= CROWD_A_SECOND) {
            crowd_fini(crowd); // it is over
        }
        crowd->second = now_ms / 1000;
        crowd->asked = 0;
    }
    return ++crowd->asked > CROWD_A_SECOND;
}

bool crowd_kept(const struct crowd *crowd, unsigned page, uint64_t now_ms, struct strbuf *out)
{
    if (crowd->kept[page].made_ms == 0 || now_ms - crowd->kept[page].made_ms >= CROWD_KEEP_MS) {
        return false;
    }
    strbuf_add(out, strbuf_slice(&crowd->kept[page].body));
    return true;
}

void crowd_keep(struct crowd *crowd, unsigned page, uint64_t now_ms, struct slice body)
{
    struct strbuf *kept = &crowd->kept[page].body;
    if (crowd->kept[page].made_ms == 0) {
        strbuf_init(kept, SIZE_MAX);
    }
    strbuf_reset(kept);
    strbuf_add(kept, body);
    crowd->kept[page].made_ms = now_ms;
    if (kept->failed) {
        strbuf_fini(kept);
        crowd->kept[page].made_ms = 0;
    }
}
