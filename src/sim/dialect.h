// How one engine speaks: its answers, its errors, its headers, its metrics, its manners. A dialect
// is data (one file each): texts with directives, tables of metric families, and a few switches.
// They were taken from transcripts of the real servers where there are some.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/strbuf.h"

// What can be wrong with a request, in the order in which it is looked at.
enum sim_failure {
    SIM_FAILURE_NO_ROUTE,
    SIM_FAILURE_METHOD,
    SIM_FAILURE_MEDIA_TYPE,
    SIM_FAILURE_EMPTY_BODY,
    SIM_FAILURE_BAD_JSON,
    SIM_FAILURE_MISSING_FIELD,  // %P names it
    SIM_FAILURE_WRONG_TYPE,     // %P names it
    SIM_FAILURE_UNKNOWN_MODEL,  // without a body: any name is served
    SIM_FAILURE_TOO_LONG,       // %v tokens for a context of %L
    SIM_FAILURE_MAX_TOKENS,     // %v asked; without a body: cut to what fits
    SIM_FAILURE_CHOICES,        // n = %v, where 1 to %L are possible
    SIM_FAILURE_OVERLOADED,
    SIM_FAILURE_SHUTTING_DOWN,
    SIM_FAILURE_OTHER,          // any status %s, with its reason phrase %r
    SIM_FAILURE_COUNT,
};

// Directives of the texts below:
//   %i id           %c creation time (s)   %m model in quotes      %e model, escaped, no quotes
//   %t text in quotes                      %f finish reason in quotes or null
//   %p prompt tokens  %o output tokens  %T their sum  %k cached prompt tokens  %n created cache
//   %K "prompt_tokens_details":{"cached_tokens":…}, when there are any
//   %d index of the choice   %C all choices, comma between
//   %N uncached prompt tokens  %M most tokens asked for   %j random part of the id
//   %q number of the event     %w completed or incomplete  %D why incomplete: an object or null
//   %S end_turn or max_tokens
//   %u ,"usage":{…} when it goes on every chunk       %x llama.cpp's timings object
//   %s status  %r reason phrase  %P field  %v value  %L limit  %a models, comma between  %% percent
struct sim_failure_row {
    unsigned status;
    const char *body;
};

// Texts of one API (chat or text completions); each is the JSON of one event.
struct sim_texts {
    const char *role;       // first event; NULL: none
    const char *token;
    const char *last_token; // with the finish reason; NULL: as `token`, then `finish`
    const char *last_plain; // the same when no usage follows; NULL: no difference
    const char *finish;     // event of its own; NULL: none
    const char *finish_usage; // the same when usage was asked for and has no event of its own
    const char *usage;      // NULL: none
    const char *whole;      // the answer that is not streamed
    const char *choice;     // one of the %C in it
};

// An event with a name. Both texts have directives.
struct sim_event {
    const char *name;
    const char *text;
};

// An API whose streams have named events (responses, messages): no usage of its own, no [DONE].
struct sim_events {
    const char *id_prefix;
    const struct sim_event *begin; // all before the first token; the last has no name
    struct sim_event token;
    const struct sim_event *end; // with all the text in %t
    const char *whole;
    bool no_cache; // heads of streams have cache-control: no-cache and connection: keep-alive
};

// What ids look like behind their prefix.
enum sim_id_form { SIM_ID_HEX, SIM_ID_LONG_HEX, SIM_ID_LETTERS };

enum sim_header_style {
    SIM_HEADERS_UVICORN,  // vLLM, SGLang, …: lower-case names, date, server
    SIM_HEADERS_LLAMACPP, // cpp-httplib
    SIM_HEADERS_PLAIN,    // lower-case names, no server
};

enum sim_abort_manner {
    SIM_ABORT_AT_ONCE,
    SIM_ABORT_LATE,  // noticed some seconds later
    SIM_ABORT_NEVER, // runs to its end
};

enum sim_term_manner {
    SIM_TERM_FINISH, // refuses connections, streams finish
    SIM_TERM_SILENT, // refuses connections, streams stay open without a byte
    SIM_TERM_RAGGED, // refuses connections, streams are cut or silent
    SIM_TERM_SERVE,  // /health fails, all goes on until nothing is left
};

// What ?name[]=… does to an exposition.
enum sim_name_filter {
    SIM_NAMES_IGNORED,
    SIM_NAMES_CHOSEN, // prometheus_client: samples with these names only
    SIM_NAMES_LOST,   // prometheus_client over several processes: nothing at all
};

struct sim_family;

struct sim_dialect {
    const char *name;
    const char *version;  // body of GET /version; NULL: no such route
    const char *health;   // body of GET /health
    const char *health_paths; // further ones, spaces between
    const char *metrics_path; // NULL: no metrics
    const char *plain_metrics; // body of /metrics where that is something else; NULL: the same
    const char *metrics_type;  // content type
    enum sim_header_style headers;

    struct sim_texts chat;
    struct sim_texts text;
    const struct sim_events *responses; // POST /v1/responses; NULL: no such route
    const struct sim_events *messages;  // POST /v1/messages; NULL: no such route
    const char *every_usage; // what %u becomes
    struct sim_failure_row failures[SIM_FAILURE_COUNT];
    const char *error_event; // %s %r: an error inside a stream
    const char *overload_event;
    const char *models_entry; // one element of GET /v1/models
    const char *models_head;  // before the elements
    const char *models_names; // one element of a list before that (llama.cpp); NULL: none
    const char *id_chat;      // prefixes of ids
    const char *id_text;
    enum sim_id_form id_form;

    bool head_at_once;       // the head of a stream goes out while the request waits
    bool error_needs_head;   // a full queue answers streams with 200 and an error event, always
    bool burst_error_event;  // … only when the figures were not settled yet
    bool roles_together;     // with n > 1 all roles come before the first token
    bool finish_together;    // … and all finish reasons after the last
    bool choice_ids;         // … and each choice has an id of its own in the stream
    bool choices_are_slots;  // n is at most the size of the batch
    bool close_after_stream;
    bool close_after_error;
    bool head_method_ok;     // HEAD works where GET does
    bool request_ids;        // x-request-id of the client is in the id; echoed where asked for
    bool health_generates;   // /health is a generation: 503 after a while when the engine is stuck
    bool orca;
    bool done_after_error;   // [DONE] follows an error event
    enum sim_abort_manner abort_whole; // the client of an answer that is not streamed goes away
    enum sim_term_manner term;

    const char *labels;           // of every series, unless its row has its own
    const char *histogram_labels; // the same with %l where le goes
    const struct sim_family *families;
    size_t family_count;
    enum sim_name_filter name_filter;
    bool float_values;   // whole numbers are written as 3.0
    bool created_series; // counters and histograms are followed by a _created gauge
};

// By name; NULL when there is none.
const struct sim_dialect *sim_dialect_find(struct slice name);

// All of them, in the order of the help text; NULL after the last.
const struct sim_dialect *sim_dialect_at(size_t index);

// What the directives are filled with.
struct sim_fill {
    struct slice id;
    struct slice model;
    struct slice choices; // JSON
    struct slice item_id;
    struct slice text; // plain ASCII without anything to escape
    struct slice all_models;
    const struct sim_dialect *dialect;
    const char *finish; // NULL: null
    const char *field;
    uint64_t created;
    uint64_t value;
    uint64_t limit;
    uint32_t index;
    uint32_t sequence;
    uint32_t max_tokens;
    uint32_t prompt_tokens;
    uint32_t output_tokens;
    uint32_t cached_tokens;
    uint32_t block_size;
    double prompt_ms;
    double output_ms;
    unsigned status;
    bool every_usage;
};

void sim_fill_text(struct strbuf *out, const char *text, const struct sim_fill *fill);
