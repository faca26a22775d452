// What a rule does to the header fields of a message that passes: first some are removed, then
// others added. Pure; compiled once, read by workers.
#pragma once

#include "http/message.h"

struct header_edit {
    const struct slice *drops; // names, lower case: fields of the message that do not pass
    size_t drop_count;
    uint64_t drop_lengths; // bit (length & 63) of each of them; see header_edit_index
    const struct http_header *adds; // go out behind what passes; names in lower case
    size_t add_count;
};

// Derives drop_lengths; call when drops are complete.
void header_edit_index(struct header_edit *edit);

// Is the name, in any case, among those that do not pass?
bool header_edit_names(const struct header_edit *edit, struct slice name);

// Does the field not pass? `edit` may be NULL: nothing is changed.
static inline bool header_edit_drops(const struct header_edit *edit, struct slice name)
{
    return edit != NULL && ((edit->drop_lengths >> (name.len & 63)) & 1) != 0 &&
           header_edit_names(edit, name);
}
