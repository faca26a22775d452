#include "http/header_edit.h"

void header_edit_index(struct header_edit *edit)
{
    edit->drop_lengths = 0;
    for (size_t i = 0; i < edit->drop_count; i++) {
        edit->drop_lengths |= UINT64_C(1) << (edit->drops[i].len & 63);
    }
}

bool header_edit_names(const struct header_edit *edit, struct slice name)
{
    for (size_t i = 0; i < edit->drop_count; i++) {
        if (slice_ieq(edit->drops[i], name)) {
            return true;
        }
    }
    return false;
}
